"""The server that judges clients: it answers what comes, behaves as it is told to, and writes down all of it.

It reads octets and takes what it gets: where a good server would refuse or hang up, this one wants to know
what the client does next. Whatever a client does, it ends: what it may say is bounded, an endless reply ends
after 256 KiB, and where both sides wait, the stream says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from ..._commands import KNOWN_VERBS
from ..._errors import LocalProtocolError
from ._client_session import Answer, Behaviour, Heard, Kind, Letter, Offers, Said, Session
from ._client_voice import Voice

_CRLF = b"\r\n"
_LONE_DOT = b".\r\n"
_TLS_HANDSHAKE = b"\x16"

# What a client says in a session is far below these.
_MOST_HEARD = 300
_MOST_OCTETS = 1_048_576
# A client waits for replies long before it has said so much.
_MOST_PENDING = 100

_BDAT = re.compile(rb"([0-9]{1,9})(?: +(?i:LAST))?")
# LOGIN asks for a user and a password, the others for one response.
_CHALLENGES = {b"LOGIN": (b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n")}
_OUT_OF_ORDER = b"503 bad sequence of commands\r\n"


class ReactiveServer:
    """One side of a session, without I/O: `receive_data` what the client says, send it `data_to_send()`, one
    piece at a time, and hear it again before the next piece.
    """

    def __init__(self, letter: Letter, behaviour: Behaviour) -> None:
        self.session: Session = Session(letter, behaviour)
        self.tls_due: bool = False
        """Whether it is ready for the handshake, and hears nothing else."""
        self.is_over = False
        """Whether the client has read the end of file."""
        self._voice = Voice(self.session)
        self._in = bytearray()
        self._heard_in_all = 0
        self._marks: list[tuple[int, int]] = []  # from which octet on the client had read how many of ours
        self._reader: Callable[[], bool] = self._read_line
        self._of: Heard | None = None  # the command to which a text or a chunk belongs
        self._chunk_size = 0
        self._challenges: list[bytes] = []
        self._tls = False
        self._hellos: list[tuple[int, bool, Offers]] = []
        self._introduced = False
        self._reset()
        self._voice.say(self._voice.answer_for("greeting"))

    @property
    def has_closed(self) -> bool:
        """Whether it says no more: send what there is, and the end of file."""
        return self._voice.has_closed

    @property
    def awaits_hang_up(self) -> bool:
        """Whether it has said so much of an endless reply that the client should have had enough. Where it is
        not known what the client has read, wait for it before the next `data_to_send()`.
        """
        return self._voice.is_at_limit

    @property
    def wants_tls(self) -> bool:
        """Whether the client has the 220 to its STARTTLS: the handshake is due, then call `tls_started()`."""
        return self.tls_due and self._voice.is_silent

    def receive_data(self, data: bytes) -> None:
        """Hear octets; `b""` is the end of file."""
        session = self.session
        if session.has_ended:
            return
        if self._heard_in_all > _MOST_OCTETS:
            data = b""
        session.log.append(("client", data))
        if not data:
            session.has_ended = True
            self._stop()
            return
        self._marks.append((self._heard_in_all, self._voice.read))
        self._heard_in_all += len(data)
        self._in += data
        if self.tls_due:
            self._take(len(self._in), "stray")
        while self._in and not self.has_closed and self._reader():
            if len(session.heard) >= _MOST_HEARD:
                self._voice.close()
        if self._heard_in_all > _MOST_OCTETS:
            self._voice.close()
        if self._in and self.has_closed:
            self._take(len(self._in), "late")

    def data_to_send(self, at_most: int | None = None) -> bytes:
        """Take the next piece, of so many octets at most; `b""` if there is none."""
        return self._voice.next_piece(at_most)

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

    # What is heard

    @property
    def _kind(self) -> Kind:
        """Of what is being heard."""
        kinds: dict[object, Kind] = {
            self._read_text: "text",
            self._read_chunk: "chunk",
            self._read_response: "response",
            self._read_stray: "stray",
        }
        return kinds.get(self._reader, "stray" if self._is_stray(bytes(self._in)) else "command")

    def _stop(self) -> None:
        """Nothing more is heard: what has begun has no end."""
        self._marks.append((self._heard_in_all, self._voice.read))
        if not self.has_closed and (self._in or self._reader in (self._read_text, self._read_chunk)):
            self._take(len(self._in), self._kind).is_whole = False
        self._voice.close()

    def _take(self, size: int, kind: Kind) -> Heard:
        """Write down what these octets are, and when they began to be said."""
        at = self._heard_in_all - len(self._in)
        while len(self._marks) > 1 and self._marks[1][0] <= at:
            self._marks.pop(0)
        known = self._marks[0][1]
        recent = self.session.heard[-_MOST_PENDING:]
        pending = [other for other in recent if other.answers and other.answers[-1].end > known]
        offers = self._offers(known, self._tls)
        before = self._offers(known, False) if self._tls else {}
        heard = Heard(
            kind=kind,
            octets=bytes(self._in[:size]),
            index=len(self.session.heard),
            known=known,
            tls=self._tls,
            offers=offers,
            stale=before.keys() - offers.keys(),
            pending=pending,
            is_partial=bool(pending) and pending[0].answers[0].start < known,
            of=self._of if kind in ("text", "chunk") else None,
        )
        del self._in[:size]
        self.session.heard.append(heard)
        return heard

    def _offers(self, known: int, tls: bool) -> Offers:
        """What had been offered to a client that has read so many octets."""
        told = [offers for end, in_tls, offers in self._hellos if in_tls == tls and end <= known]
        return told[-1] if told else {}

    def _read_line(self) -> bool:
        if self._in.startswith(_TLS_HANDSHAKE):
            self._take(len(self._in), "stray")
            self._voice.close()
            return False
        end = self._in.find(b"\n") + 1
        if end and self._is_stray(bytes(self._in[:end])):
            self._reader = self._read_stray
        elif end:
            heard = self._take(end, "command")
            self._actions.get(heard.verb, ReactiveServer._other)(self, heard)
        return bool(end)

    def _is_stray(self, line: bytes) -> bool:
        """Whether this is no command, where a message was refused or just over."""
        last = self.session.heard[-1] if self.session.heard else None
        if last is None or _verb(line) in KNOWN_VERBS:
            return False
        if last.kind in ("text", "chunk", "stray"):
            return line != _LONE_DOT
        return last.verb == "DATA"

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
        if end:
            self._answer(self._take(size, "stray"), "stray")
            self._reader = self._read_line
        return bool(end)

    def _read_text(self) -> bool:
        end = 0 if self._in.startswith(_LONE_DOT) else self._in.find(_CRLF + _LONE_DOT) + len(_CRLF)
        if end == 1:
            return False
        self._reader = self._read_line
        self._give_verdict(self._take(end + len(_LONE_DOT), "text"))
        return True

    def _read_chunk(self) -> bool:
        if len(self._in) < self._chunk_size:
            return False
        self._reader = self._read_line
        self._answer_chunk(self._take(self._chunk_size, "chunk"))
        return True

    def _read_response(self) -> bool:
        end = self._in.find(b"\n") + 1
        if end:
            heard = self._take(end, "response")
            self._reader = self._read_line
            if heard.line == b"*":
                self._answer(heard, "cancelled", b"501 cancelled\r\n")
            else:
                self._authenticate(heard, "response")
        return bool(end)

    # What is done about it

    def _answer(self, heard: Heard, moment: str, usual: bytes | None = None) -> Said:
        """Say what is planned for this moment, or else `usual`; by default what a good server says."""
        said = self._voice.say(self._voice.answer_for(moment, usual))
        heard.answers.append(said)
        return said

    def _refuse(self, heard: Heard, octets: bytes = _OUT_OF_ORDER) -> Said:
        said = self._voice.say(Answer(octets))
        heard.answers.append(said)
        return said

    def _reset(self) -> None:
        self._in_mail = False
        self._has_chunks = False
        self._taken = 0  # recipients

    def _hello(self, heard: Heard) -> None:
        offers = () if heard.verb == "HELO" else self.session.behaviour.offered(self._tls)
        *first, last = ("mx.example", *offers)
        usual = "".join(f"250-{line}\r\n" for line in first) + f"250 {last}\r\n"
        said = self._answer(heard, heard.verb, usual.encode("ascii"))
        if said.is_good:
            known = {} if heard.verb == "HELO" else _offers_in(said.octets)
            self._hellos.append((said.end, self._tls, known))
            self._introduced = True
            self._reset()

    def _starttls(self, heard: Heard) -> None:
        is_offered = "STARTTLS" in self.session.behaviour.offered(self._tls)
        said = self._answer(heard, "STARTTLS", None if is_offered else _OUT_OF_ORDER)
        self.tls_due = said.code == 220 and not self.has_closed
        if self.tls_due and self._in:
            self._take(len(self._in), "stray")

    def _auth(self, heard: Heard) -> None:
        mechanism, _, initial = heard.argument.partition(b" ")
        challenges = _CHALLENGES.get(mechanism.upper(), (b"334 \r\n",))
        self._challenges = list(challenges[bool(initial) :])
        self._authenticate(heard, "AUTH")

    def _authenticate(self, heard: Heard, moment: str) -> None:
        said = self._answer(heard, moment, self._challenges.pop(0) if self._challenges else None)
        if said.octets.startswith(b"334") and not self.has_closed:
            self._reader = self._read_response

    def _mail(self, heard: Heard) -> None:
        is_due = self._introduced and not self._in_mail
        said = self._answer(heard, "MAIL") if is_due else self._refuse(heard)
        self._in_mail = self._in_mail or said.is_good

    def _rcpt(self, heard: Heard) -> None:
        said = self._answer(heard, "RCPT") if self._in_mail else self._refuse(heard)
        self._taken += said.is_good

    def _data(self, heard: Heard) -> None:
        if not self._in_mail or self._has_chunks:
            self._refuse(heard)
            return
        said = self._answer(heard, "DATA", None if self._taken else b"554 no valid recipients\r\n")
        if said.code == 354:
            self._of = heard
            self._reader = self._read_text

    def _bdat(self, heard: Heard) -> None:
        match = _BDAT.fullmatch(heard.argument)
        if match is None:
            self._refuse(heard, b"501 what?\r\n")
            return
        self._of = heard
        self._chunk_size = int(match[1])
        self._reader = self._read_chunk
        if self._chunk_size == 0:
            self._read_chunk()

    def _answer_chunk(self, heard: Heard) -> None:
        if not self._in_mail or not self._taken:
            self._refuse(heard)
        elif heard.is_last_chunk:
            self._give_verdict(heard)
        else:
            self._has_chunks = True
            # A chunk that is refused ends the transaction, in which no other can be good then.
            self._in_mail = not self._answer(heard, "BDAT").is_bad

    def _give_verdict(self, heard: Heard) -> None:
        for _ in range(max(1, self._taken) if self.session.behaviour.lmtp else 1):
            if not self.has_closed:
                self._answer(heard, "text")
        self._reset()

    def _rset(self, heard: Heard) -> None:
        self._answer(heard, "RSET")
        self._reset()

    def _quit(self, heard: Heard) -> None:
        self._answer(heard, "QUIT")
        self._voice.close()

    def _other(self, heard: Heard) -> None:
        self._answer(heard, heard.verb)

    _actions: ClassVar[dict[str, Callable[[ReactiveServer, Heard], None]]] = {
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
        "QUIT": _quit,
    }


def _verb(line: bytes) -> str:
    words = line.split()
    return words[0].decode("latin-1").upper() if words else ""


def _offers_in(octets: bytes) -> Offers:
    """The keywords of an answer to EHLO, and their words."""
    lines = [line[4:].decode("latin-1").split() for line in octets.split(_CRLF)[1:]]
    return {words[0].upper(): tuple(words[1:]) for words in lines if words}
