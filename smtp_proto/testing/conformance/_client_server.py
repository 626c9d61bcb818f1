"""The server that judges clients: it answers what comes, behaves as it is told to, and writes down all of it.

It reads octets and takes what it gets: where a good server would refuse or hang up, this one wants to know
what the client does next. Whatever a client does, it ends: what it may say is bounded, an endless reply ends
after 256 KiB, and where both sides wait, the stream says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle

from ..._commands import KNOWN_VERBS
from ..._errors import LocalProtocolError
from ._client_session import Answer, Behaviour, Heard, Kind, Letter, Offers, Said, Session

_CRLF = b"\r\n"
_LONE_DOT = b".\r\n"
_TLS_HANDSHAKE = b"\x16"

# An endless reply is four times as long as the longest that a client of this library takes.
_FLOOD = 262_144
# What a client says in a session is far below these.
_MOST_HEARD = 1000
_MOST_OCTETS = 4_194_304

# LOGIN asks for a user and a password, the others for one response.
_CHALLENGES = {b"LOGIN": (b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n")}
_BDAT = re.compile(rb"([0-9]{1,9})(?: +(?i:LAST))?")
_DEFAULTS = {
    "greeting": b"220 mx.example ESMTP\r\n",
    "HELO": b"250 mx.example\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "AUTH": b"235 welcome\r\n",
    "response": b"235 welcome\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "BDAT": b"250 ok\r\n",
    "text": b"250 taken\r\n",
    "RSET": b"250 ok\r\n",
    "NOOP": b"250 ok\r\n",
    "VRFY": b"252 perhaps\r\n",
    "QUIT": b"221 bye\r\n",
}
_OUT_OF_ORDER = Answer(b"503 bad sequence of commands\r\n")
_UNKNOWN = Answer(b"500 no such command\r\n")
_BAD_ARGUMENT = Answer(b"501 what?\r\n")


class ReactiveServer:
    """One side of a session, without I/O: `receive_data` what the client says, send it `data_to_send()`, one
    piece at a time, and hear it again before the next piece.
    """

    def __init__(self, letter: Letter, behaviour: Behaviour) -> None:
        self.session = Session(letter, behaviour)
        self.has_closed = False
        """Whether it says no more: send what there is, and the end of file."""
        self.is_over = False
        """Whether the client has read the end of file."""
        self._behaviour = behaviour
        self._counts: dict[str, int] = {}
        self._sizes = cycle(behaviour.pieces) if behaviour.pieces else None
        self._out = bytearray()
        self._held = 0  # octets at the end of `_out` that belong to the piece before them
        self._said_in_all = 0
        self._delivered = 0
        self._endless: Answer | None = None
        self._in = bytearray()
        self._heard_in_all = 0
        self._marks: list[tuple[int, int]] = []  # from which octet of the client on it had read how many of ours
        self._tls = False
        self.tls_due = False
        """Whether it is ready for the handshake, and hears nothing else."""
        self._hellos: list[tuple[int, bool, Offers]] = []
        self._reader: Callable[[], bool] = self._read_line
        self._expected = 0  # octets of a chunk
        self._challenges: list[bytes] = []
        self._of: Heard | None = None
        self._reset()
        self._introduced = False
        self._say("greeting")

    @property
    def wants_tls(self) -> bool:
        """Whether the client has the 220 to its STARTTLS: the handshake is due, then call `tls_started()`."""
        return self.tls_due and not self._out

    def receive_data(self, data: bytes) -> None:
        """Hear octets; `b""` is the end of file."""
        session = self.session
        if session.has_ended:
            return
        session.log.append(("client", data))
        if not data:
            session.has_ended = True
            self._stop()
            return
        self._marks.append((self._heard_in_all, self._delivered))
        self._heard_in_all += len(data)
        if self.has_closed:
            self._note("late", data)
            return
        self._in += data
        if self.tls_due:
            self._take(len(self._in), "stray")
        while self._in and not self.has_closed and self._reader():
            if len(session.heard) >= _MOST_HEARD:
                self._close()
        if self._in and self.has_closed:
            self._take(len(self._in), "late")
        if self._heard_in_all > _MOST_OCTETS:
            self._close()

    def data_to_send(self, at_most: int | None = None) -> bytes:
        """Take the next piece, of so many octets at most; `b""` if there is none."""
        if not self._out and self._endless is not None:
            self._go_on_for_ever(self._endless)
        size = len(self._out) if at_most is None else at_most
        piece = bytes(self._out[: min(size, self._next_size())])
        del self._out[: len(piece)]
        self._delivered += len(piece)
        if piece:
            self.session.log.append(("server", piece))
        if not self._out and self.has_closed and piece:
            self.session.log.append(("server", b""))
        return piece

    def tls_started(self) -> None:
        """The handshake is done. Raises `LocalProtocolError` if none was due."""
        if not self.wants_tls:
            raise LocalProtocolError("no TLS handshake is due")
        self.session.log.append((None, b""))
        self._tls, self.tls_due = True, False
        self._introduced = False
        self._reset()

    def give_up(self) -> None:
        """The client waits, and there is nothing to say to it."""
        if not self.has_closed:
            self.session.is_stuck = True
            self._stop()

    # What is said

    def _answer_for(self, moment: str, default: Answer | None) -> Answer:
        count = self._counts[moment] = self._counts.get(moment, 0) + 1
        answers = self._behaviour.answers.get(moment, ())
        if count <= len(answers):
            return answers[count - 1]
        return default or Answer(_DEFAULTS.get(moment, _UNKNOWN.octets))

    def _say(self, moment: str, to: Heard | None = None, *, default: Answer | None = None) -> Said:
        """The answer that is planned for this moment, or else the usual one."""
        return self._utter(self._answer_for(moment, default), to, closes=moment == "QUIT")

    def _utter(self, answer: Answer, to: Heard | None = None, *, closes: bool = False) -> Said:
        code, flaw = answer.judged
        end = self._said_in_all + (_FLOOD if answer.endless else len(answer.octets))
        said = Said(octets=answer.octets, start=self._said_in_all, end=end, code=code, flaw=flaw)
        if to is not None:
            to.answers.append(said)
        if answer.endless:
            self._endless = answer
        self._put(said)
        if answer.behind:
            end = self._said_in_all + len(answer.behind)
            self._held = len(answer.behind)
            self._put(
                Said(octets=answer.behind, start=self._said_in_all, end=end, code=None, flaw="", unasked=True)
            )
        if answer.closes or closes or code == 421:
            self._close()
        return said

    def _put(self, said: Said) -> None:
        self.session.said.append(said)
        self._out += said.octets
        self._said_in_all += len(said.octets)

    def _next_size(self) -> int:
        if self._sizes is not None:
            size = next(self._sizes)
        else:
            end = self._out.find(_CRLF)
            size = len(self._out) if end < 0 else end + len(_CRLF)
        if self._held and len(self._out) - self._held <= size:
            size, self._held = len(self._out), 0
        return size

    def _go_on_for_ever(self, answer: Answer) -> None:
        if self._said_in_all >= _FLOOD:
            self.session.was_flooded = True
            self._endless = None
            self._close()
            return
        block = answer.octets * (4096 // len(answer.octets) + 1)
        self._out += block
        self._said_in_all += len(block)

    def _close(self) -> None:
        if not self._out and not self.has_closed:
            self.session.log.append(("server", b""))
        self.has_closed = True

    # What is heard

    def _stop(self) -> None:
        """Nothing more is heard: what has begun has no end."""
        self._marks.append((self._heard_in_all, self._delivered))
        if self._in and not self.has_closed:
            self._take(len(self._in), self._kind).is_whole = False
        elif self._kind in ("text", "chunk") and not self.has_closed:
            self._note(self._kind, b"").is_whole = False
        self._close()

    @property
    def _kind(self) -> Kind:
        """Of what is being heard."""
        kinds: dict[object, Kind] = {
            self._read_text: "text",
            self._read_chunk: "chunk",
            self._read_response: "response",
            self._read_stray: "stray",
        }
        return kinds.get(self._reader, "command")

    def _take(self, size: int, kind: Kind) -> Heard:
        octets = bytes(self._in[:size])
        heard = self._note(kind, octets, self._heard_in_all - len(self._in))
        del self._in[:size]
        return heard

    def _note(self, kind: Kind, octets: bytes, at: int | None = None) -> Heard:
        """Write down what begins at this octet of all that was heard; by default with the last arrival."""
        at = self._marks[-1][0] if at is None else at
        while len(self._marks) > 1 and self._marks[1][0] <= at:
            self._marks.pop(0)
        known = self._marks[0][1]
        pending = [
            other
            for other in self.session.heard[-100:]
            if other.answers and other.answers[-1].end > known
        ]
        offers = self._offers(known, self._tls)
        before = self._offers(known, False) if self._tls else {}
        heard = Heard(
            kind=kind,
            octets=octets,
            known=known,
            tls=self._tls,
            offers=offers,
            stale=before.keys() - offers.keys(),
            pending=pending,
            is_partial=bool(pending) and pending[0].answers[0].start < known,
            of=self._of if kind in ("text", "chunk") else None,
        )
        self.session.heard.append(heard)
        return heard

    def _offers(self, known: int, tls: bool) -> Offers:
        """What had been offered to a client that has read so many octets."""
        told = [offers for end, in_tls, offers in self._hellos if in_tls == tls and end <= known]
        return told[-1] if told else {}

    def _read_line(self) -> bool:
        if self._in.startswith(_TLS_HANDSHAKE):
            self._take(len(self._in), "stray")
            self._close()
            return False
        end = self._in.find(b"\n") + 1
        if not end:
            return False
        if self._is_stray(bytes(self._in[:end])):
            self._reader = self._read_stray
            return True
        heard = self._take(end, "command")
        self._answers.get(heard.verb, ReactiveServer._other)(self, heard)
        return True

    def _is_stray(self, line: bytes) -> bool:
        """Whether this is no command, where a message was refused or just over."""
        last = self.session.heard[-1] if self.session.heard else None
        if last is None or _verb(line) in KNOWN_VERBS:
            return False
        if last.kind in ("text", "chunk", "stray"):
            return line != _LONE_DOT
        return last.kind == "command" and last.verb == "DATA"

    def _read_stray(self) -> bool:
        """Lines up to a lone dot or the next command, and one answer to all of them."""
        size = 0
        while end := self._in.find(b"\n", size) + 1:
            line = bytes(self._in[size:end])
            if _verb(line) in KNOWN_VERBS:
                break
            size = end
            if line == _LONE_DOT:
                break
        if not end:
            return False
        self._utter(_UNKNOWN, self._take(size, "stray"))
        self._reader = self._read_line
        return True

    def _read_text(self) -> bool:
        end = 0 if self._in.startswith(_LONE_DOT) else self._in.find(_CRLF + _LONE_DOT) + len(_CRLF)
        if end == 1:
            return False
        heard = self._take(end + len(_LONE_DOT), "text")
        self._reader = self._read_line
        self._give_verdict(heard)
        return True

    def _read_chunk(self) -> bool:
        if len(self._in) < self._expected:
            return False
        heard = self._take(self._expected, "chunk")
        self._reader = self._read_line
        self._answer_chunk(heard)
        return True

    def _read_response(self) -> bool:
        end = self._in.find(b"\n") + 1
        if not end:
            return False
        heard = self._take(end, "response")
        self._reader = self._read_line
        if heard.line == b"*":
            self._utter(Answer(b"501 cancelled\r\n"), heard)
        else:
            self._authenticate(heard, "response")
        return True

    # What is done about it

    def _reset(self) -> None:
        self._in_mail = False
        self._has_chunks = False
        self._taken = 0  # recipients

    def _hello(self, heard: Heard) -> None:
        tls = self._tls
        lines = ("mx.example", *self._behaviour.offered(tls)) if heard.verb != "HELO" else ("mx.example",)
        usual = b"".join(b"250-%b\r\n" % line.encode("ascii") for line in lines[:-1])
        said = self._say(heard.verb, heard, default=Answer(usual + b"250 %b\r\n" % lines[-1].encode("ascii")))
        if said.is_good:
            self._hellos.append((said.end, tls, _offers_in(said.octets) if heard.verb != "HELO" else {}))
            self._introduced = True
            self._reset()

    def _starttls(self, heard: Heard) -> None:
        offered = "STARTTLS" in self._behaviour.offered(self._tls)
        said = self._say("STARTTLS", heard, default=None if offered else _OUT_OF_ORDER)
        self.tls_due = said.code == 220 and not self.has_closed
        if self.tls_due and len(self._in):
            self._take(len(self._in), "stray")

    def _auth(self, heard: Heard) -> None:
        mechanism, _, initial = heard.argument.partition(b" ")
        challenges = _CHALLENGES.get(mechanism.upper(), (b"334 \r\n",))
        self._challenges = list(challenges[bool(initial) :])
        self._authenticate(heard, "AUTH")

    def _authenticate(self, heard: Heard, moment: str) -> None:
        usual = Answer(self._challenges.pop(0)) if self._challenges else None
        said = self._say(moment, heard, default=usual)
        if said.octets.startswith(b"334"):
            self._reader = self._read_response

    def _mail(self, heard: Heard) -> None:
        is_due = self._introduced and not self._in_mail
        said = self._say("MAIL", heard) if is_due else self._utter(_OUT_OF_ORDER, heard)
        self._in_mail = self._in_mail or said.is_good

    def _rcpt(self, heard: Heard) -> None:
        said = self._say("RCPT", heard) if self._in_mail else self._utter(_OUT_OF_ORDER, heard)
        self._taken += said.is_good

    def _data(self, heard: Heard) -> None:
        usual = Answer(b"554 no valid recipients\r\n") if self._in_mail and not self._taken else None
        is_due = self._in_mail and not self._has_chunks
        said = self._say("DATA", heard, default=usual) if is_due else self._utter(_OUT_OF_ORDER, heard)
        if said.code == 354:
            self._of = heard
            self._reader = self._read_text

    def _bdat(self, heard: Heard) -> None:
        match = _BDAT.fullmatch(heard.argument)
        if match is None:
            self._utter(_BAD_ARGUMENT, heard)
            return
        self._of = heard
        self._expected = int(match[1])
        self._reader = self._read_chunk
        if self._expected == 0:
            self._read_chunk()

    def _answer_chunk(self, heard: Heard) -> None:
        if not self._in_mail or not self._taken:
            self._utter(_OUT_OF_ORDER, heard)
        elif heard.of is not None and heard.of.argument.upper().endswith(b"LAST"):
            self._give_verdict(heard)
        else:
            self._has_chunks = True
            # A chunk that is refused ends the transaction, in which no other can be good then.
            self._in_mail = not self._say("BDAT", heard).is_bad

    def _give_verdict(self, heard: Heard) -> None:
        for _ in range(self._taken or 1 if self._behaviour.lmtp else 1):
            if not self.has_closed:
                self._say("text", heard)
        self._reset()

    def _rset(self, heard: Heard) -> None:
        self._say("RSET", heard)
        self._reset()

    def _other(self, heard: Heard) -> None:
        self._say(heard.verb, heard)

    _answers = {
        "EHLO": _hello,
        "LHLO": _hello,
        "HELO": _hello,
        "STARTTLS": _starttls,
        "AUTH": _auth,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "BDAT": _bdat,
        "RSET": _rset,
    }


def _verb(line: bytes | bytearray) -> str:
    words = line.split()
    return words[0].decode("latin-1").upper() if words else ""


def _offers_in(octets: bytes) -> Offers:
    """The keywords of an answer to EHLO, and their words."""
    lines = [line[4:].decode("latin-1").split() for line in octets.split(_CRLF)[1:]]
    return {words[0].upper(): tuple(words[1:]) for words in lines if words}
