"""Our client with servers that nobody here wrote, over each transport, in each way they can be talked to.

What these servers do otherwise than others is in test_oddities.py.
"""

from __future__ import annotations

from loops import Loop
from matrix import Cell
from ways import Place, over

from smtp_proto import Limits

TABLE = "servers"
SENDER = "ada@sender.example"
HEADER = (
    b"From: Ada <ada@sender.example>\r\nTo: Bob <bob@example.test>\r\nSubject: nasty\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <nasty@sender.example>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
NASTY = (
    HEADER
    + b".\r\n..\r\n...\r\n. \r\n.leading\r\n..leading\r\n\r\n.\r\nFrom the start of a line\r\n>From\r\n"
    + "Grüße – 日本語 😀\r\n".encode()
    + bytes(range(128, 256))
    + b"\r\n\t trailing blanks \t\r\n\x01\x1b[31m\x7f\x0b\x0c\r\n"
    + b"".join(b"x" * length + b"\r\n." + b"y" * length + b"\r\n" for length in (998, 999, 2_000, 20_000))
    + b"the last line\r\n\r\n\r\n\r\n"
)


def arrived(place: Place, user: str, count: int = 1) -> list[bytes]:
    """The messages in a mailbox, with the line ends that they were sent with."""
    return [message.replace(b"\n", b"\r\n") for message in place.keeper.delivered(user, count)]


@over()
def test_a_nasty_message_arrives_octet_by_octet(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "nasty message", loop.name)

    async def scene() -> None:
        async with place.client(loop, limits=Limits(text_line=None)) as client:
            result = await client.send_message(SENDER, "bob@example.test", NASTY)
        assert result.all_accepted, result

    loop.run(scene)
    (message,) = arrived(place, "bob")
    assert message.endswith(b"\r\n" + NASTY)
