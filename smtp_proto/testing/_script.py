r"""A dialogue as text, and a peer that follows it. No I/O.

    # a comment
    S: 220 mx.example
    C: EHLO ...
    S: 250-mx.example
    S: 250 STARTTLS
    C: STARTTLS
    S: 220 go ahead
    <starttls>
    C: QUIT
    S: 221 bye
    S: <close>

A line is what one side says, with CRLF behind it. `...` at its end: any other octets may stand there. `\`
at its end: no CRLF follows. `\xNN` is an octet, and has to be used for what is no printable ASCII and for a
blank at the end; `\\` is a backslash. `<close>`: this side says no more. `<starttls>`: here is the TLS
handshake. Blanks before and behind a line do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, Protocol, TypeAlias, TypeVar

from .._commands import KNOWN_VERBS
from .._errors import LocalProtocolError

Role: TypeAlias = Literal["client", "server"]

_SIDES: dict[str, Role] = {"C": "client", "S": "server"}
_LETTERS = {role: letter for letter, role in _SIDES.items()}
_TLS, _CLOSE = "<starttls>", "<close>"
_CRLF = b"\r\n"
_READ = 65536
# Of a line that is not the expected one this much is shown behind the first difference.
_SHOWN = 60

_LINE = re.compile(r"([CS]):(?: (.*))?")
_TEXT = re.compile(r"((?:[^\\]|\\\\|\\x[0-9A-Fa-f]{2})*?)(\.\.\.|\\)?")
_ESCAPE = re.compile(r"\\(?:\\|x(..))")
_VERB = re.compile(rb"[A-Za-z]+(?=[ \r]|\Z)")
_LINE_END = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script.

    `by`: who says it; None: both, the TLS handshake. `octets`: all of them, with the line end; `b""` is the
    end of file. `any_rest`: then they are the beginning, and any rest and CRLF follow. `number`: where the
    step stands in the text, from 1; it does not count when steps are compared.
    """

    by: Role | None
    octets: bytes = b""
    any_rest: bool = False
    number: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return _shown(self.by, self.octets, self.any_rest)

    def fit(self, came: bytes) -> tuple[int, bool]:
        """How many of these octets are as this line has them, and whether the line is complete with them."""
        octets = self.octets
        verb = _VERB.match(octets) if self.by == "client" else None
        if verb is not None and verb[0].upper().decode() in KNOWN_VERBS:
            came = _fold(came, verb.end())
            octets = _fold(octets, verb.end())
        fitting = _common(octets, came)
        if fitting < len(octets) or not self.any_rest:
            return fitting, fitting == len(octets)
        end = fitting + len(_LINE_END.split(came[fitting:], 1)[0])
        if came.startswith(_CRLF, end):
            return end + len(_CRLF), True
        # CR may become CRLF; nothing else that ends a line may stand in it.
        return end + came.startswith(b"\r", end), False


@dataclass(frozen=True, slots=True)
class Script:
    """A dialogue: the `steps` in their order. `str()` is its text, which `parse` reads again.

    Raises `ValueError` for a step of a side that has said `<close>`, or a handshake behind one.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        closed: set[Role | None] = set()
        for step in self.steps:
            if step.by in closed:
                raise ValueError(f"line {step.number}: {step} stands behind {_CLOSE}")
            if step.by is not None and not step.octets and not step.any_rest:
                closed |= {step.by, None}

    @classmethod
    def parse(cls, text: str) -> Script:
        """The script that this `text` is. Raises `ValueError`, with the number of the line, for any other."""
        lines = ((number, line.strip(" \t\r")) for number, line in enumerate(text.split("\n"), 1))
        return cls(tuple(_parse(line, number) for number, line in lines if line and line[0] != "#"))

    @classmethod
    def from_octets(cls, said: Iterable[tuple[Role | None, bytes]]) -> Script:
        """The script of what was `said`: by whom, and which octets, `b""` for the end of file. `None` says
        the TLS handshake. What one side says without a break is cut into lines.
        """
        runs = (
            (by, b"".join(octets for _, octets in run))
            for (by, _), run in groupby(said, lambda one: (one[0], not one[1]))
        )
        steps = ((by, line) for by, octets in runs for line in _lines(octets))
        return cls(tuple(Step(by, line, number=number) for number, (by, line) in enumerate(steps, 1)))

    def __str__(self) -> str:
        return "".join(f"{step}\n" for step in self.steps)


class ScriptMismatch(AssertionError):
    """Reality left the script. The text shows what was said before, the line that was expected, the one that
    came, and below it the first difference.

    `line`: the number of the expected line in the script. `expected`, `came`: as they stand in a script.
    `at`: where in these two the difference begins. `transcript`: what was said before, as the text of a
    script.
    """

    def __init__(self, line: int, expected: str, came: str, at: int, transcript: str) -> None:
        self.line = line
        self.expected = expected
        self.came = came
        self.transcript = transcript
        before = "".join(f"    {said}\n" for said in transcript.splitlines())
        super().__init__(
            f"the dialogue leaves the script at line {line}\n\n{before}\n"
            f"  expected  {expected}\n      came  {came}\n            {' ' * at}^"
        )


class ScriptedPeer:
    """One side of a dialogue, which says what the `script` says and hears nothing else. No I/O.

    `plays`: the side that it is.

    The case of a verb that this library knows does not matter, all else does.
    What the other side says too early waits for its line, but never for a handshake. Raises `ValueError` if
    a line that it has to say ends with `...`.
    """

    def __init__(self, script: Script, *, plays: Role) -> None:
        for step in script.steps:
            if step.by == plays and step.any_rest:
                raise ValueError(f"line {step.number}: {step} has no end that could be said")
        self._steps = script.steps
        self._plays: Role = plays
        self._other: Role = "server" if plays == "client" else "client"
        self._at = 0
        self._came = b""
        self._eof = False
        self._out: list[bytes] = []
        self._said: list[tuple[Role | None, bytes]] = []
        self.has_closed: bool = False
        """Whether this side has said all that it will: send what there is, and the end of file."""
        self._go_on()

    @property
    def is_finished(self) -> bool:
        """Whether the script is at its end; `data_to_send()` may have its last words."""
        return self._at == len(self._steps)

    @property
    def wants_tls(self) -> bool:
        """Whether the TLS handshake is due, after `data_to_send()`; call `tls_started()` behind it."""
        return not self.is_finished and self._steps[self._at].by is None

    @property
    def transcript(self) -> str:
        """What was said so far by both, as the text of a script; what waits for its line is left out."""
        return str(Script.from_octets(self._said))

    def receive_data(self, data: bytes) -> None:
        """Hear octets from the other side; `b""` is its end of file. Raises `ScriptMismatch` where they are
        not what the script has, and behind its end.
        """
        self._eof = self._eof or not data
        self._came += data
        self._go_on()

    def data_to_send(self) -> bytes:
        """Take the octets that are to be sent now; `b""` if there are none."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def tls_started(self) -> None:
        """The handshake is done. Raises `LocalProtocolError` if none was due."""
        if not self.wants_tls:
            raise LocalProtocolError("no TLS handshake is due")
        self._said.append((None, b""))
        self._at += 1
        self._go_on()

    def mismatch(self, came: str) -> ScriptMismatch:
        """The exception for what happened in the place of the line that is due: `came` says what."""
        return self._mismatch(came, 0)

    def _go_on(self) -> None:
        while not self.is_finished and self._do(self._steps[self._at]):
            self._at += 1
        if self._came and (self.is_finished or self.wants_tls):
            raise self._difference(0)
        if self._eof and self.wants_tls:
            raise self._difference(0)

    def _do(self, step: Step) -> bool:
        """Say or hear this step; whether it is done."""
        if step.by == self._plays:
            self._out.append(step.octets)
            self._said.append((step.by, step.octets))
            self.has_closed = not step.octets
            return True
        return step.by is not None and self._hear(step)

    def _hear(self, step: Step) -> bool:
        if step.octets or step.any_rest:
            fitting, is_complete = step.fit(self._came)
        else:
            fitting, is_complete = 0, self._eof and not self._came
        if not is_complete and (self._eof or fitting < len(self._came)):
            raise self._difference(fitting)
        if is_complete:
            self._said.append((step.by, self._came[:fitting]))
            self._came = self._came[fitting:]
        return is_complete

    def _difference(self, at: int) -> ScriptMismatch:
        """What came differs at this octet from what should."""
        came = self._came
        line = came[: min(_end_of_line(came, at), at + _SHOWN)]
        shown = _shown(self._other, line)
        if self._eof and line and line == came and not line.endswith(_CRLF):
            shown += f" {_CLOSE}"
        return self._mismatch(shown, len("C: ") + len(_escaped(line[:at])))

    def _mismatch(self, came: str, at: int) -> ScriptMismatch:
        if self.is_finished:
            line = self._steps[-1].number + 1 if self._steps else 1
            return ScriptMismatch(line, "nothing: the script is at its end", came, at, self.transcript)
        step = self._steps[self._at]
        return ScriptMismatch(step.number, str(step), came, at, self.transcript)


class Socket(Protocol):
    """What `play` needs of a socket. Where a script goes on behind its own `<close>`, `shutdown` too."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def close(self) -> object: ...


_Socket = TypeVar("_Socket", bound=Socket)


def play(
    script: Script, sock: _Socket, *, plays: Role, start_tls: Callable[[_Socket], _Socket] | None = None
) -> None:
    """Play one side of `script` over a socket that blocks, and close it at the end, whatever happened.

    `start_tls` does the handshake and returns the socket to go on with. What the other side says behind the
    end of the script is not waited for: a last line `<close>` of its own insists that it says nothing. A
    connection that was reset counts as closed. Raises `ScriptMismatch` where reality leaves the script,
    which it does too if the socket has a timeout and nothing comes; `ValueError` for a script with a
    handshake and no `start_tls`, and for one that this side cannot play; and what `start_tls` raises.
    """
    try:
        peer = ScriptedPeer(script, plays=plays)
        if start_tls is None and any(step.by is None for step in script.steps):
            raise ValueError(f"the script has {_TLS}, and nobody does the handshake")
        while True:
            _send(peer, sock)
            if peer.is_finished:
                return
            if peer.wants_tls and start_tls is not None:
                sock = start_tls(sock)
                peer.tls_started()
            else:
                peer.receive_data(_receive(peer, sock))
    finally:
        sock.close()


def _send(peer: ScriptedPeer, sock: Socket) -> None:
    data = peer.data_to_send()
    if data:
        # A side that is gone may have said something before; reading shows both.
        with suppress(ConnectionError):
            sock.sendall(data)
    if peer.has_closed and not peer.is_finished:
        with suppress(OSError):
            # SHUT_WR. `Socket` does not ask it of those whose script ends with `<close>`.
            sock.shutdown(1)  # type: ignore[attr-defined]


def _receive(peer: ScriptedPeer, sock: Socket) -> bytes:
    try:
        return sock.recv(_READ)
    except TimeoutError as exc:
        raise peer.mismatch("nothing, until the time was over") from exc
    except ConnectionError:
        return b""


def _parse(line: str, number: int) -> Step:
    if line == _TLS:
        return Step(None, number=number)
    match = _LINE.fullmatch(line)
    text = match and _TEXT.fullmatch(match[2] or "")
    if match is None or text is None or not (line.isascii() and line.isprintable()):
        raise ValueError(f"line {number} is none of a script: {line!r}")
    by = _SIDES[match[1]]
    if match[2] == _CLOSE:
        return Step(by, number=number)
    octets = _ESCAPE.sub(lambda escape: chr(int(escape[1] or "5c", 16)), text[1]).encode("latin-1")
    if text[2] is None:
        octets += _CRLF
    elif not octets and text[2] == "\\":
        raise ValueError(f"line {number} says nothing: {line!r}")
    return Step(by, octets, text[2] == "...", number)


def _shown(by: Role | None, octets: bytes, any_rest: bool = False) -> str:
    """These octets as a line of a script."""
    if by is None:
        return _TLS
    text = _escaped(octets.removesuffix(_CRLF)) if octets else _CLOSE
    if any_rest:
        text = _escaped(octets) + "..."
    elif octets and not octets.endswith(_CRLF):
        text += "\\"
    elif octets and (text == _CLOSE or text.endswith((" ", "..."))):
        # A blank that nobody sees, and what would mean something else.
        text = text[:-1] + f"\\x{ord(text[-1]):02x}"
    return f"{_LETTERS[by]}: {text}".rstrip(" ")


def _escaped(octets: bytes) -> str:
    return "".join(
        "\\\\" if octet == 0x5C else chr(octet) if 0x20 <= octet <= 0x7E else f"\\x{octet:02x}"
        for octet in octets
    )


def _lines(octets: bytes) -> list[bytes]:
    """These octets, cut behind each CRLF; nothing is one line, too."""
    *lines, rest = octets.split(_CRLF)
    whole = [line + _CRLF for line in lines]
    return whole if whole and not rest else [*whole, rest]


def _end_of_line(octets: bytes, at: int) -> int:
    """Where the line ends in which this octet stands."""
    end = octets.find(_CRLF, max(0, at - 1))
    return len(octets) if end < 0 else end + len(_CRLF)


def _fold(octets: bytes, size: int) -> bytes:
    """With the first `size` of them in upper case."""
    return octets[:size].upper() + octets[size:]


def _common(octets: bytes, others: bytes) -> int:
    """How many octets both begin with."""
    size = min(len(octets), len(others))
    if octets[:size] == others[:size]:
        return size
    return next(at for at in range(size) if octets[at] != others[at])
