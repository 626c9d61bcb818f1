"""Shared by the tests: feeding octets in pieces, and a client and a server joined in memory."""

from __future__ import annotations

import io
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from enum import Enum
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from itertools import pairwise
from types import BuiltinFunctionType, FunctionType
from typing import Any, Protocol, TypeVar

import pytest

from smtp_proto import (
    NEED_DATA,
    Auth,
    AuthChallenge,
    Bdat,
    ClientConnection,
    Command,
    ConnectionLost,
    Data,
    Ehlo,
    Features,
    Greeting,
    Hello,
    Lhlo,
    Limits,
    Mail,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    Signal,
    StartTLS,
    State,
    TimedOut,
)
from smtp_proto._message import Message
from smtp_proto.ops import Decide, Op, Want

_T = TypeVar("_T")

ALL_FEATURES = Features(
    {
        "PIPELINING": (),
        "SIZE": ("10485760",),
        "8BITMIME": (),
        "BINARYMIME": (),
        "CHUNKING": (),
        "DSN": (),
        "SMTPUTF8": (),
        "ENHANCEDSTATUSCODES": (),
        "AUTH": ("PLAIN", "LOGIN"),
        "STARTTLS": (),
        "ETRN": (),
        "BURL": ("imap",),
        "XCLIENT": ("NAME", "ADDR"),
        "XFORWARD": ("NAME", "ADDR"),
    }
)


def every(
    names: str | tuple[str, ...],
    cases: Iterable[Any],
    *,
    ids: Iterable[str] | Callable[[Any], str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `pytest.mark.parametrize`, but in one test: it runs all cases, and names those that fail.

    For many small cases, on each of which pytest itself would spend more time than they need. What has
    marks, such as xfail, is a test of its own.
    """
    wanted = [names] if isinstance(names, str) else names
    labels = iter(ids) if isinstance(ids, Iterable) else None
    together: dict[str, dict[str, Any]] = {}
    alone = []
    for case in cases:
        given = case if isinstance(case, type(pytest.param())) else None
        values = given.values if given else case if len(wanted) > 1 else (case,)
        label = (given and given.id) or (next(labels) if labels else ", ".join(map(ids or repr, values)))
        while label in together:
            label += ", again"
        table = {label: dict(zip(wanted, values, strict=True))}
        if given and given.marks:
            alone.append(pytest.param(table, id=label, marks=given.marks))
        else:
            together |= table
    assert together, "no cases"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(cases: dict[str, dict[str, Any]] = together, **others: Any) -> None:
            failures: list[BaseException] = []
            for label, values in cases.items():
                try:
                    test(**values, **others)
                except (Exception, pytest.fail.Exception) as exc:
                    exc.add_note(f"Case: {label}")
                    failures.append(exc)
            if len(cases) == len(failures) == 1:
                raise failures[0]
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(cases)} cases fail", failures)

        left = [each for each in signature(test).parameters.values() if each.name not in wanted]
        if alone:
            left.append(Parameter("cases", Parameter.KEYWORD_ONLY))
        run.__signature__ = Signature(left)  # type: ignore[attr-defined]
        groups = [pytest.param(together, id="all"), *alone]
        return pytest.mark.parametrize("cases", groups)(run) if alone else run

    return decorate


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """`data` cut at these offsets, empty pieces left out."""
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        if start < end:
            yield data[start:end]


def drain(conn: ClientConnection | ServerConnection) -> list[Any]:
    """The events that are there, up to where the connection needs data or an answer."""
    events: list[Any] = []
    while not isinstance(event := conn.next_event(), Signal):
        events.append(event)
    return events


def until_error(
    conn: ClientConnection | ServerConnection, *chunks: bytes
) -> tuple[list[Any], RemoteProtocolError | None]:
    """As `feed`, up to the first error: the events before it, and the error. No chunks: what is there."""
    events: list[Any] = []
    try:
        for chunk in chunks or (None,):
            if chunk is not None:
                conn.receive_data(chunk)
            while not isinstance(event := conn.next_event(), Signal):
                events.append(event)
    except RemoteProtocolError as exc:
        return events, exc
    return events, None


def feed(conn: ClientConnection | ServerConnection, *chunks: bytes) -> list[Any]:
    """Give these octets to the connection one chunk after the other: the events that this makes."""
    events: list[Any] = []
    for chunk in chunks:
        conn.receive_data(chunk)
        events += drain(conn)
    return events


@cache
def _slots(kind: type) -> tuple[str, ...]:
    """What makes up a thing of this class; nothing if it is a value."""
    if issubclass(kind, Message | str | Features | Limits) or not kind.__module__.startswith("smtp_proto"):
        return ()
    return tuple(slot for cls in kind.__mro__ for slot in getattr(cls, "__slots__", ()))


def snapshot(thing: Any) -> Any:
    """All that a connection knows, as a value: equal as long as nothing changed."""
    kind = type(thing)
    if kind is ClientConnection or kind is ServerConnection:
        assert thing.state  # a client predicts where it will be when it is asked
    if slots := _slots(kind):
        return {slot: snapshot(getattr(thing, slot)) for slot in slots}
    if isinstance(thing, list | tuple | deque) and kind is not Limits:
        return [snapshot(item) for item in thing]
    return bytes(thing) if kind is bytearray else thing


# What never changes, so that copies may share it; classes and functions among it.
_SHARED = (Message, Features, Limits, Enum, type, FunctionType, BuiltinFunctionType)


def copies(thing: _T) -> Callable[[], _T]:
    """Makes copies of `thing` as it is now: pickled once, and unpickled for each."""
    shared: list[object] = []

    class Freezer(pickle.Pickler):
        def persistent_id(self, part: object) -> int | None:
            if not isinstance(part, _SHARED):
                return None
            shared.append(part)
            return len(shared) - 1

    frozen = io.BytesIO()
    Freezer(frozen).dump(thing)
    octets = frozen.getvalue()

    class Thawer(pickle.Unpickler):
        def persistent_load(self, place: int) -> object:
            return shared[place]

    def copy() -> _T:
        return Thawer(io.BytesIO(octets)).load()

    return copy


def whole(octets: bytes) -> Iterable[bytes]:
    """Not cut at all."""
    return [octets] if octets else []


class Pair:
    """A client and a server joined in memory; what is said travels when `client()` or `server()` reads.

    `cut` is how the octets are cut on their way.
    """

    def __init__(
        self,
        *,
        lmtp: bool = False,
        features: Features = ALL_FEATURES,
        cut: Callable[[bytes], Iterable[bytes]] = whole,
        hello: bool = True,
        client: ClientConnection | None = None,
        server: ServerConnection | None = None,
    ) -> None:
        self.client = client or ClientConnection(lmtp=lmtp)
        self.server = server or ServerConnection(lmtp=lmtp)
        self.cut = cut
        if hello:
            self.say(Greeting(domain="mx.example"))
            command = (Lhlo if lmtp else Ehlo)(domain="client.example")
            self.ask(command, Hello(domain="mx.example", features=features))

    def server_events(self) -> list[Command]:
        """Carry what the client queued to the server; the events up to where it needs data or an answer."""
        return feed(self.server, *self.cut(self.client.data_to_send()))

    def client_events(self) -> list[Reply]:
        """Carry what the server queued to the client; the events that this makes."""
        return feed(self.client, *self.cut(self.server.data_to_send()))

    def say(self, reply: Reply) -> Reply:
        """The server says `reply`: what the client gets."""
        self.server.send(reply)
        (received,) = self.client_events()
        return received

    def ask(self, command: Command, reply: Reply) -> Reply:
        """The client says `command`, the server answers `reply`: what the client gets."""
        self.client.send(command)
        self.server_events()
        return self.say(reply)


_MAIL = (Mail(reverse_path="sender@client.example"), Reply(code=250))
_RCPT = (Rcpt(forward_path="rcpt@mx.example"), Reply(code=250))
_CHUNK = Bdat(size=10)
_SCRIPTS: dict[State, tuple[tuple[Command, Reply], ...]] = {
    State.READY: (),
    State.AUTH: ((Auth(mechanism="LOGIN"), AuthChallenge(data=b"Username:")),),
    State.TLS: ((StartTLS(), Reply(code=220)),),
    State.MAIL: (_MAIL,),
    State.RCPT: (_MAIL, _RCPT),
    State.DATA: (_MAIL, _RCPT, (Data(), Reply(code=354))),
    State.CHUNK: (_MAIL, _RCPT),
    State.BDAT: (_MAIL, _RCPT, (Bdat(size=0), Reply(code=250))),
    State.BDAT_FAILED: (_MAIL, _RCPT, (Bdat(size=0), Reply(code=554))),
    State.CLOSED: ((Quit(), Reply(code=221)),),
    State.FAILED: (),
}


def _walk_to(state: State, chunk: Bdat, **options: Any) -> Pair:
    pair = Pair(hello=state in _SCRIPTS, **options)
    if state is State.REJECTED:
        pair.say(Reply(code=554))
    elif state is State.GREETED:
        pair.say(Greeting(domain="mx.example"))
    for command, reply in _SCRIPTS.get(state, ()):
        pair.ask(command, reply)
    if state is State.CHUNK:
        pair.client.send(chunk)
        pair.server_events()
    elif state is State.FAILED:
        pair.client.fail()
        pair.server.fail()
    return pair


@cache
def _copies(what: str, state: State, chunk: Bdat, **options: Any) -> Callable[[], Any]:
    """A walk is made once, and copied for each test: many of them walk thousands of times."""
    pair = _walk_to(state, chunk, **options)
    return copies(pair if what == "pair" else getattr(pair, what))


def pair_in(
    state: State,
    *,
    chunk: Bdat = _CHUNK,
    client: ClientConnection | None = None,
    server: ServerConnection | None = None,
    **options: Any,
) -> Pair:
    """A pair of which both ends are in `state`; in CHUNK, `chunk` is what is under way."""
    if client is None and server is None:
        return _copies("pair", state, chunk, **options)()
    return _walk_to(state, chunk, client=client, server=server, **options)


def client_in(state: State, *, chunk: Bdat = _CHUNK, **options: Any) -> ClientConnection:
    """A client in `state`, as in `pair_in`."""
    return _copies("client", state, chunk, **options)()


def server_in(state: State, *, chunk: Bdat = _CHUNK, **options: Any) -> ServerConnection:
    """A server in `state`, as in `pair_in`."""
    return _copies("server", state, chunk, **options)()


# Operations, driven in memory


class Stream(Protocol):
    """What an operation's loop drives. It raises `OSError` where the network fails."""

    def send(self, data: bytes) -> None: ...
    def start_tls(self) -> None: ...


class PeerStream(Stream, Protocol):
    """A stream with a peer behind it: what it says next, `b""` at the end."""

    def receive(self) -> bytes: ...


def steps(
    op: Op[_T],
    conn: ClientConnection | ServerConnection,
    stream: Stream,
    ask: Callable[[Any], object] | None = None,
) -> Generator[None, None, _T]:
    """The loop of `smtp_proto.ops._wants`, as a generator that stops where it would read.

    Give octets to the connection and resume it, or throw in the `OSError` with which reading failed.
    """
    answer: object = None
    thrown: Exception | None = None
    mute = False

    def flush() -> None:
        nonlocal mute
        data = conn.data_to_send()
        if data and not mute:
            try:
                stream.send(data)
            except OSError as exc:
                mute = True
                raise _lost(conn, exc, sending=True) from exc

    try:
        while True:
            try:
                want = op.send(answer) if thrown is None else op.throw(thrown)
            except StopIteration as stop:
                flush()
                return stop.value  # type: ignore[no-any-return]
            except Exception:
                if thrown is not None:
                    conn.fail()
                raise
            answer = thrown = None
            try:
                if want is Want.EVENT:
                    while (answer := conn.next_event()) is NEED_DATA:
                        flush()
                        try:
                            yield
                        except OSError as exc:
                            raise _lost(conn, exc) from exc
                elif isinstance(want, Decide):
                    answer = ask(want)  # type: ignore[misc]
                else:
                    flush()
                    if want is Want.TLS:
                        try:
                            stream.start_tls()
                        except OSError as exc:
                            raise _lost(conn, exc) from exc
                    elif want is not Want.FLUSH:
                        answer = ask(want)  # type: ignore[misc]
            except Exception as exc:
                thrown = exc
    finally:
        op.close()


def _lost(
    conn: ClientConnection | ServerConnection, exc: OSError, *, sending: bool = False
) -> ConnectionLost:
    if isinstance(exc, TimeoutError):
        return TimedOut(conn.timer, conn.timer.seconds)
    return ConnectionLost(str(exc), sending=sending)


def drive(
    op: Op[_T],
    conn: ClientConnection | ServerConnection,
    stream: PeerStream,
    ask: Callable[[Any], object] | None = None,
) -> _T:
    """Drive `op` to its end: what it returns or raises. Nothing is left to send then."""
    loop = steps(op, conn, stream, ask)
    failure: OSError | None = None
    try:
        while True:
            try:
                next(loop) if failure is None else loop.throw(failure)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                conn.receive_data(stream.receive())
                failure = None
            except OSError as exc:
                failure = exc
    finally:
        assert conn.data_to_send() == b""
