"""Bodies in memory: made ready to be sent, and read; and what is hostile."""

from __future__ import annotations

from .core_clients import each, smtplib_client
from .samples import body, cut
from .worker import Job


def writing(job: Job) -> dict[str, float]:
    """Stuff dots and mend line ends."""
    from smtp_proto import LineEnds
    from smtp_proto._body import DataWriter

    pieces = cut(body(job.name, job.size))

    def run() -> None:
        writer = DataWriter(LineEnds.NORMALIZE, 998, allow_nul=False)
        for piece in pieces:
            writer.write(piece)
        writer.end()

    return each(1, run)


def smtplib_writing(job: Job) -> dict[str, float]:
    client, text = smtplib_client(b"354 Go on\r\n", b"250 2.0.0 Taken\r\n"), body(job.name, job.size)
    return each(1, lambda: client.data(text))


def stuffed(text: bytes) -> bytes:
    from smtp_proto import LineEnds
    from smtp_proto._body import DataWriter

    writer = DataWriter(LineEnds.STRICT, 998, allow_nul=False)
    return writer.write(text) + writer.end()


def reading(job: Job) -> dict[str, float]:
    """Find the end of a message, and take the dots out."""
    from smtp_proto import Limits, LineEnds
    from smtp_proto._body import DataReader
    from smtp_proto._receive_buffer import ReceiveBuffer

    text = body(job.name, job.size)
    pieces = cut(stuffed(text))

    def run() -> None:
        buffer, reader = ReceiveBuffer(), DataReader(LineEnds.STRICT, Limits())
        size = 0
        for piece in pieces:
            buffer.append(piece)
            size += len(reader.read(buffer))
        assert reader.ended
        assert size == len(text)

    return each(1, run)


def octet_by_octet(job: Job) -> dict[str, float]:
    """One line of a reply that has no end, as far as the limit lets it."""
    from smtp_proto import ClientConnection, Limits

    octets = [b"x"] * job.size

    def run() -> None:
        conn = ClientConnection(limits=Limits(reply_line=job.size + 100))
        conn.receive_data(b"220 ")
        for octet in octets:
            conn.receive_data(octet)
            conn.next_event()

    return each(1, run)


def many_lines(job: Job) -> dict[str, float]:
    """A reply of so many lines, with the limits that are the default."""
    from smtp_proto import ClientConnection, RemoteProtocolError

    pieces = cut(b"220-x\r\n" * job.size)

    def run() -> None:
        conn = ClientConnection()
        try:
            for piece in pieces:
                conn.receive_data(piece)
                conn.next_event()
        except RemoteProtocolError:
            return
        raise AssertionError("not refused")

    return each(1, run)
