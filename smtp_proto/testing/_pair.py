"""A client and a server joined in memory. Octets travel as a plan says; nothing waits for ever. No I/O.

By hand, each end says something, and reads what has come:

    pair.client.send(Ehlo(domain="client.example"))
    pair.server_events()                               # [Ehlo(domain="client.example")]

Or an operation of `smtp_proto.ops` runs at each end, in turns: `pair.run(client_op, server_op)`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar, cast

from .._client_connection import ClientConnection
from .._commands import Command
from .._connection import NEED_DATA, Signal
from .._errors import ConnectionLost, LocalProtocolError
from .._replies import Reply
from .._server_connection import ServerConnection
from ..ops import Decide, Op, Want
from ._script import Role, Script

_T = TypeVar("_T")

_Said = list[tuple[Role | None, bytes]]

# So often an operation may ask for something without anything being said or heard: far more than a working
# one does, and over in a moment.
_IDLE = 10_000

_WAITS = {Want.EVENT: "the next event", Want.TLS: "the TLS handshake"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How octets travel. The plan that says nothing has each side hear all that was said when it reads.

    `client_pieces`, `server_pieces`: how many octets arrive together at most of what this side says, one
    size for each piece, over and over; `()` for all that are on their way. `turns`: whose operation acts
    next, over and over; `()` for both by turns. In its turn it reads one piece and acts until it would
    wait; meanwhile all else is on its way. The turn of who cannot go on is the other's. `client_end`,
    `server_end`: after so many octets of this side the other one hears the end of file, and the rest is
    lost; None for no such end.

    Raises `ValueError` for a size below 1 or a negative end.
    """

    client_pieces: tuple[int, ...] = ()
    server_pieces: tuple[int, ...] = ()
    turns: tuple[Role, ...] = ()
    client_end: int | None = None
    server_end: int | None = None

    def __post_init__(self) -> None:
        if min((*self.client_pieces, *self.server_pieces), default=1) < 1:
            raise ValueError("a piece has one octet at least")
        if min(self.client_end or 0, self.server_end or 0) < 0:
            raise ValueError("a connection ends after 0 octets at least")


class Deadlock(AssertionError):
    """Both ends wait, or one of them asks and asks and nothing happens. The text says `what` each waits
    for, and what was said so far; `transcript` is that alone.
    """

    def __init__(self, what: str, transcript: str) -> None:
        self.transcript = transcript
        super().__init__(f"{what}\n\n{transcript}")


class Pair:
    """The connection of `client` and `server`, both new or in the same state. For one run, or by hand.

    `plan`: how the octets travel; by default each side hears all at once.
    """

    def __init__(self, client: ClientConnection, server: ServerConnection, plan: Plan | None = None) -> None:
        plan = plan or Plan()
        self.client = client
        self.server = server
        self.server_error: Exception | None = None
        """What the server's operation raised in `run`."""
        self._said: _Said = []
        to_server = _Wire("client", plan.client_pieces, plan.client_end, self._said)
        to_client = _Wire("server", plan.server_pieces, plan.server_end, self._said)
        self._ends: dict[Role, _End] = {
            "client": _End("client", client, to_server, to_client),
            "server": _End("server", server, to_client, to_server),
        }
        self._turns: tuple[Role, ...] = plan.turns or ("client", "server")

    @property
    def said(self) -> Sequence[tuple[Role | None, bytes]]:
        """What was said so far, each write by itself: by whom, and the octets that set out together; `b""` is
        the end of file, and `None` the TLS handshake. So `Script.from_octets` takes it.
        """
        return tuple(self._said)

    @property
    def transcript(self) -> str:
        """What was said so far, lost octets left out: the text of a `Script`. Passwords are in it, too."""
        return str(Script.from_octets(self._said))

    def client_event(self) -> Reply | Signal:
        """The client's next event, of what has been said so far; `NEED_DATA` if that was all.

        Raises what `ClientConnection.next_event()` raises.
        """
        return cast("Reply | Signal", self._next_event("client"))

    def server_event(self) -> Command | Signal:
        """The server's next event, of what has been said so far; `NEED_DATA` if that was all.

        Raises what `ServerConnection.next_event()` raises.
        """
        return cast("Command | Signal", self._next_event("server"))

    def client_events(self) -> list[Reply]:
        """The client's events up to a signal. Raises as `client_event()`; those before are lost then."""
        return list(iter(self._next_message("client"), None))

    def server_events(self) -> list[Command]:
        """The server's events up to a signal: one, where it has to answer. Raises as `server_event()`; those
        before are lost then.
        """
        return list(iter(self._next_message("server"), None))

    def close(self, role: Role) -> None:
        """This side says no more: the other one hears the end of file behind what was said."""
        self._ends[role].close()

    def start_tls(self) -> None:
        """The TLS handshake, by hand. Raises what `tls_started()` raises."""
        for end in self._ends.values():
            end.flush()
        for end in self._ends.values():
            end.receive_all()
            end.conn.tls_started()
        self._said.append((None, b""))

    def run(
        self,
        client_op: Op[_T],
        server_op: Op[object],
        *,
        ask: Callable[[Any], object] | None = None,
        server_ask: Callable[[Any], object] | None = None,
    ) -> _T:
        """Run an operation at each end, both to their end: what the client's returns. Who is done hangs up.

        `ask` answers the questions of the client's (`NextChunk`, `NextToken`), `server_ask` those of the
        server's; where there is none, `Decide` is answered with None, the default.

        Raises what the client's operation raises, and else what the server's does; `Deadlock` if neither
        can go on.
        """
        client, server = self._ends.values()
        client.start(client_op, ask)
        server.start(server_op, server_ask)
        try:
            self._take_turns()
        finally:
            client.stop()
            server.stop()
        self.server_error = server.error
        for error in (client.error, server.error):
            if error is not None:
                raise error
        return cast(_T, client.result)

    def _next_event(self, role: Role) -> object:
        for end in self._ends.values():
            end.flush()
        return self._ends[role].next_event()

    def _next_message(self, role: Role) -> Callable[[], Any]:
        def message() -> object:
            event = self._next_event(role)
            return None if isinstance(event, Signal) else event

        return message

    def _take_turns(self) -> None:
        client, server = self._ends.values()
        turns = cycle(self._turns)
        while not (client.is_over and server.is_over):
            self._shake_hands(client, server)
            mine, other = (client, server) if next(turns) == "client" else (server, client)
            end = mine if mine.can_go_on else other
            if not end.can_go_on:
                raise Deadlock(f"{client} and {server}", self.transcript)
            self._act(end)

    def _act(self, end: _End) -> None:
        end.act()
        if end.idle > _IDLE:
            what = "asks again and again, and nothing is said or heard"
            raise Deadlock(f"the {end.role}'s operation {what}", self.transcript)

    def _shake_hands(self, client: _End, server: _End) -> None:
        """Let both go on if they wait for the handshake, and nothing is on its way that it would read."""
        if client.waits is server.waits is Want.TLS and not (client.has_mail or server.has_mail):
            client.waits = server.waits = Want.FLUSH
            self._said.append((None, b""))


class _Wire:
    """One direction: what one side has said, on its way to the other."""

    def __init__(self, by: Role, pieces: tuple[int, ...], end: int | None, said: _Said) -> None:
        self._by = by
        self._sizes = cycle(pieces) if pieces else None
        self._room = end
        self._said = said
        self._octets = bytearray()
        self.is_closed = False
        self.say(b"")

    @property
    def has_octets(self) -> bool:
        return bool(self._octets)

    def say(self, data: bytes) -> None:
        """`data` sets out; what is said behind the end is lost."""
        if self._room is not None:
            data = data[: self._room]
            self._room -= len(data)
        if data and not self.is_closed:
            self._octets += data
            self._said.append((self._by, data))
        if self._room == 0:
            self.close()

    def close(self) -> None:
        if not self.is_closed:
            self._said.append((self._by, b""))
        self.is_closed = True

    def take(self) -> bytes:
        """The next piece; `b""` at the end."""
        size = next(self._sizes) if self._sizes else len(self._octets)
        piece = bytes(self._octets[:size])
        del self._octets[:size]
        return piece


class _End:
    """One end, and the operation that runs there."""

    _steps: Generator[None, None, Any]

    def __init__(
        self, role: Role, conn: ClientConnection | ServerConnection, to_peer: _Wire, from_peer: _Wire
    ) -> None:
        self.role = role
        self.conn = conn
        self._to_peer = to_peer
        self._from_peer = from_peer
        self.waits = Want.FLUSH
        """What its operation waits for; `FLUSH`: nothing but its turn."""
        self.is_over = False
        self.idle = 0
        """How often its operation asked for something since it said something or got a message."""
        self.result: Any = None
        self.error: Exception | None = None

    def __str__(self) -> str:
        what = _WAITS.get(self.waits, "its turn")
        return (
            f"the {self.role} waits for {what} (state {self.conn.state.name}, timer {self.conn.timer.name})"
        )

    @property
    def has_mail(self) -> bool:
        """Whether there is something to read, if only the end of file."""
        return self._from_peer.has_octets or self._from_peer.is_closed

    @property
    def can_go_on(self) -> bool:
        return not self.is_over and (self.waits is Want.FLUSH or self.has_mail)

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if data:
            self.idle = 0
            self._to_peer.say(data)

    def close(self) -> None:
        self.flush()
        self._to_peer.close()

    def receive(self) -> None:
        """Read a piece."""
        self.conn.receive_data(self._from_peer.take())

    def receive_all(self) -> None:
        while self._from_peer.has_octets:
            self.receive()

    def next_event(self) -> object:
        while (event := self.conn.next_event()) is NEED_DATA and self.has_mail:
            self.receive()
        return event

    def start(self, op: Op[object], ask: Callable[[Any], object] | None) -> None:
        self._steps = self._drive(op, ask or _default)

    def stop(self) -> None:
        self._steps.close()

    def act(self) -> None:
        """Have the operation go on until it would wait."""
        try:
            next(self._steps)
            return
        except StopIteration as stop:
            self.result = stop.value
        except Exception as exc:
            self.error = exc
        self.is_over = True
        self._to_peer.close()

    def _drive(self, op: Op[_T], ask: Callable[[Any], object]) -> Generator[None, None, _T]:
        """The loop of `smtp_proto.ops._wants`, which stops where it would wait."""
        answer: object = None
        thrown: Exception | None = None
        try:
            while True:
                try:
                    want = op.send(answer) if thrown is None else op.throw(thrown)
                except StopIteration as stop:
                    self.flush()
                    return cast(_T, stop.value)
                except Exception:
                    if thrown is not None:
                        self.conn.fail()
                    raise
                answer = thrown = None
                try:
                    answer = yield from self._fulfil(want, ask)
                except Exception as exc:
                    thrown = exc
        finally:
            op.close()

    def _fulfil(self, want: Any, ask: Callable[[Any], object]) -> Generator[None, None, object]:
        self.idle += 1
        if self.idle > _IDLE:
            yield from self._wait(Want.FLUSH)
        if want is Want.EVENT:
            return (yield from self._wait_for_event())
        if not isinstance(want, Decide):
            self.flush()
        if not isinstance(want, Want):
            return ask(want)
        yield from self._wait(want)
        if self.waits is Want.TLS:
            self._to_peer.close()
            raise ConnectionLost("the TLS handshake failed: what came in its place was none")
        return None

    def _wait_for_event(self) -> Generator[None, None, object]:
        while (event := self.conn.next_event()) is NEED_DATA:
            self.flush()
            yield from self._wait(Want.EVENT)
            self.receive()
        if not isinstance(event, Signal):
            self.idle = 0
        return event

    def _wait(self, want: Want) -> Generator[None, None, None]:
        self.waits = want
        yield


def _default(want: object) -> object:
    if isinstance(want, Decide):
        return None
    raise LocalProtocolError(f"nobody answers {want!r}")
