"""A client on anyio: bring a stream with four methods, and take the client that awaits.

    python examples/with_anyio.py HOST PORT SENDER RECIPIENT... < message
    python examples/with_anyio.py --starttls required --ca-file ca.pem HOST PORT SENDER RECIPIENT... < message

Prints a line for each recipient. The exit code is 0 if all of them were accepted, else 1.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from smtp_proto import ClientConnection, ConnectionLost, SMTPError
from smtp_proto.ops import SendResult
from smtp_transports.handlers import printable
from smtp_transports.streams import AsyncClient, own_name


class AnyioStream:
    """A byte stream of anyio with the methods of `AsyncStream`. Timeouts are in seconds, None for ever."""

    def __init__(self, stream: ByteStream, hostname: str, context: ssl.SSLContext | None = None) -> None:
        self._stream = stream
        self._hostname = hostname  # that the server's certificate has to be for
        self._context = context  # None: verify against the system's authorities

    async def send_all(self, data: bytes, timeout: float | None) -> None:
        with network_errors(), anyio.fail_after(timeout):
            await self._stream.send(data)

    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        try:
            with network_errors(), anyio.fail_after(timeout):
                return await self._stream.receive(max_octets)
        except anyio.EndOfStream:
            return b""

    async def start_tls(self, timeout: float | None) -> None:
        with network_errors(), anyio.fail_after(timeout):
            self._stream = await TLSStream.wrap(
                self._stream,
                server_side=False,
                hostname=self._hostname,
                ssl_context=self._context,
            )

    async def close(self) -> None:
        # In a cancelled task every await raises: the shield lets this one through, and `forcefully`
        # means that nobody waits for a peer here.
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)


@contextmanager
def network_errors() -> Iterator[None]:
    """The errors of anyio that are no `OSError` become one. `TimeoutError` and `ssl.SSLError` are already."""
    try:
        yield
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
        raise ConnectionResetError(str(exc.__cause__ or "the connection is closed")) from exc


def report(result: SendResult) -> None:
    for outcome in result.outcomes:
        # What a server says may hold control characters: do not let it paint on a terminal.
        print(printable(f"{outcome.recipient} {outcome.status.value}: {outcome.reply}"))


async def send(options: argparse.Namespace, message: bytes) -> SendResult:
    context = ssl.create_default_context(cafile=options.ca_file)
    with anyio.fail_after(60):
        tcp = await anyio.connect_tcp(options.host, options.port)
    stream = AnyioStream(tcp, options.host, context)
    # The client measures its timeouts with the clock of the loop that it runs in.
    client = AsyncClient(stream, ClientConnection(), clock=anyio.current_time)
    async with client:  # at its end QUIT; after an error just the end
        await client.start(own_name(), starttls=options.starttls)
        return await client.send_message(options.sender, options.recipients, message)


def main() -> int:
    parser = argparse.ArgumentParser(description="Send the message on standard input.")
    parser.add_argument("--starttls", choices=["never", "opportunistic", "required"], default="never")
    parser.add_argument("--ca-file", help="trust these certificates, not the system's")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("sender")
    parser.add_argument("recipients", nargs="+")
    options = parser.parse_args()
    try:
        result = anyio.run(send, options, sys.stdin.buffer.read())
    except (SMTPError, OSError, OverflowError) as exc:  # the last one for a port above 65535
        if isinstance(exc, ConnectionLost) and exc.result is not None:
            report(exc.result)  # as far as it is known
        text = str(exc) or type(exc).__name__
        print(printable(f"{options.host}:{options.port}: {text}"), file=sys.stderr)
        return 1
    report(result)
    return 0 if result.all_accepted else 1


if __name__ == "__main__":
    sys.exit(main())
