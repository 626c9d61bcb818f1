"""The core in Twisted without our transports: a protocol that drives operations, for both ends.

    python examples/with_twisted.py HOST PORT SENDER RECIPIENT... < message
    python examples/with_twisted.py --serve HOST PORT > messages

Prints a line for each recipient; the exit code is 0 if all of them were accepted, else 1. The server says
on standard error where it listens (port 0 takes a free one). STARTTLS is left out: for `Want.TLS` call
`transport.startTLS` and wait for `handshakeCompleted`.
"""

import socket
import sys
from functools import partial

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectError, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.python import log
from twisted.python.failure import Failure

from smtp_proto import NEED_DATA, ClientConnection, ConnectionLost, ServerConnection, SMTPError, TimedOut, ops
from smtp_proto.ops import Decide, Want
from smtp_transports.handlers import Collector, printable


class Driver(Protocol):
    """Drives operations on a connection, one at a time; `smtp_proto.ops.Want` is the contract."""

    def __init__(self, conn, reactor):
        self.conn = conn
        self._reactor = reactor
        self._incoming = DeferredQueue()  # octets, and in the end an exception
        self._room = None  # a Deferred while the transport holds enough

    async def run(self, op, ask=None):
        """The result of `op`. If that is an exception, the connection is given up."""
        answer = error = None
        try:
            while True:
                try:
                    want = op.send(answer) if error is None else op.throw(error)
                except StopIteration as stop:
                    result = stop.value
                    break
                answer = error = None
                try:
                    if want is Want.EVENT:
                        answer = await self._next_event()
                    elif isinstance(want, Decide):
                        answer = await ask(want)
                    elif want is Want.FLUSH:
                        await self._flush()
                    else:  # Want.TLS, NextChunk: no operation asks for them as they are called here
                        raise NotImplementedError(want)
                except Exception as exc:
                    error = exc
            await self._flush()
        except BaseException:
            self.conn.fail()
            self.transport.abortConnection()
            raise
        return result

    async def _next_event(self):
        # One deadline for the event: octets that trickle in do not extend it.
        deadline = self._reactor.seconds() + self.conn.timer.seconds
        while (event := self.conn.next_event()) is NEED_DATA:
            await self._flush()
            self.conn.receive_data(await self._receive(deadline))
        return event

    async def _receive(self, deadline):
        # Reading stops when nobody waits: what a peer sends meanwhile is not our memory's.
        self.transport.resumeProducing()
        try:
            data = await self._until(deadline, self._incoming.get())
        finally:
            self.transport.pauseProducing()
        if isinstance(data, bytes):
            return data
        if isinstance(data, ConnectionDone):
            return b""
        raise ConnectionLost(str(data)) from data

    async def _flush(self):
        self.transport.write(self.conn.data_to_send())
        if self._room is not None:
            await self._until(self._reactor.seconds() + self.conn.timer.seconds, self._room)

    def _until(self, deadline, deferred):
        """The same, or `TimedOut`: a `callLater` of the reactor's."""
        timer, left = self.conn.timer, max(0, deadline - self._reactor.seconds())
        return deferred.addTimeout(left, self._reactor, lambda *_: Failure(TimedOut(timer, timer.seconds)))

    def hang_up(self):
        """Close when all is sent. A peer that does not take it has ten seconds."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._reactor.callLater(10, self.transport.abortConnection)

    def connectionMade(self):
        self.transport.pauseProducing()  # reading, until _receive
        self.transport.registerProducer(self, True)

    def dataReceived(self, data):
        self._incoming.put(data)

    def connectionLost(self, reason):
        self._incoming.put(reason.value)

    # The transport calls these when it holds enough octets, and when it wants more or is closed.

    def pauseProducing(self):
        self._room = Deferred()

    def resumeProducing(self):
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    stopProducing = resumeProducing


class Client(Driver):
    """Sends one message."""

    def send_message(self, domain, sender, recipients, body):
        """A Deferred with the `SendResult`; cancel it to give up."""
        return Deferred.fromCoroutine(self._send_message(domain, sender, recipients, body))

    async def _send_message(self, domain, *message):
        await self.run(ops.greet(self.conn))
        await self.run(ops.hello(self.conn, domain))
        result = await self.run(ops.send_message(self.conn, *message))
        if self.conn.is_usable:  # not after 421, or if the connection died behind the verdict
            await self.run(ops.quit(self.conn))
        self.hang_up()
        return result


class Server(Driver):
    """Serves one session with a handler, whose methods may return Deferreds."""

    def __init__(self, handler, reactor):
        super().__init__(ServerConnection(), reactor)
        self._handler = handler

    def connectionMade(self):
        super().connectionMade()
        Deferred.fromCoroutine(self._serve()).addErrback(log.err)

    async def _serve(self):
        session = ops.Session(self.conn, self.transport.getPeer())

        async def ask(question):
            answer = getattr(self._handler, question.hook)(session, *question.arguments)
            return await answer if isinstance(answer, Deferred) else answer

        await self.run(ops.serve(self.conn, session, domain=socket.gethostname()), ask)
        self.hang_up()


class Output(Collector):
    """Writes every message to standard output."""

    def deliver(self, session, message):
        sys.stdout.buffer.write(message.data)
        sys.stdout.buffer.flush()


async def serve(reactor, host, port):
    factory = Factory.forProtocol(partial(Server, Output(), reactor))
    try:
        listening = await TCP4ServerEndpoint(reactor, int(port), interface=host).listen(factory)
    except CannotListenError as exc:
        raise SystemExit(str(exc)) from exc
    address = listening.getHost()
    print(f"listening on {address.host}:{address.port}", file=sys.stderr, flush=True)
    await Deferred()  # for ever


async def send(reactor, host, port, sender, *recipients):
    message = sys.stdin.buffer.read()
    client = Client(ClientConnection(), reactor)
    try:
        await connectProtocol(HostnameEndpoint(reactor, host, int(port)), client)
        result = await client.send_message(socket.gethostname(), sender, recipients, message)
    except (SMTPError, ConnectError, OSError) as exc:
        if isinstance(exc, ConnectionLost) and exc.result is not None:
            report(exc.result)  # as far as it is known
        raise SystemExit(printable(f"{host}:{port}: {exc}")) from exc
    report(result)
    raise SystemExit(0 if result.all_accepted else 1)


def report(result):
    for outcome in result.outcomes:
        # What a server says may hold control characters: do not let it paint on a terminal.
        print(printable(f"{outcome.recipient} {outcome.status.value}: {outcome.reply}"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", host, port] if port.isdecimal():
            react(serve, (host, port))
        case [_, port, _, _, *_] if port.isdecimal():
            react(send, sys.argv[1:])
        case _:
            sys.exit(__doc__)
