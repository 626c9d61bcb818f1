"""One session of a client with the server that judges it: what was to be sent, how the server was to behave,
what both said and when, and what the client believes. The rules look at nothing else.

When something was said is measured in octets that the client had read by then: with that it is known which
replies it could not have waited for, and what it had been offered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from ... import _grammar
from .._script import Role, Script

Kind: TypeAlias = Literal["command", "response", "text", "chunk", "stray", "late"]
"""`response`: a line in an AUTH exchange. `text`: what follows DATA. `stray`: lines that are none of these,
where a command was due. `late`: what came when the server had closed.
"""

Flaw: TypeAlias = Literal["", "mixed", "garbage", "cut", "endless"]

Offers: TypeAlias = Mapping[str, tuple[str, ...]]

_CRLF = b"\r\n"
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])[^\r\n]*)?")
_COMMAND = re.compile(rb"([A-Za-z0-9.]+)(?: +(.*))?", re.DOTALL)
_STRICT_ENVELOPE = re.compile(rb"[A-Za-z]+ [A-Za-z]+:<")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What the client is to send. `sender`: the reverse-path. `recipients`: the forward-paths. `data`: the
    message; it has CRLF for line ends, unless it is said that a client may get others. `user`, `password`:
    for servers that offer AUTH.
    """

    sender: str = "ada@client.example"
    recipients: tuple[str, ...] = ("bob@mx.example",)
    data: bytes = b"Subject: hi\r\n\r\nHello.\r\n"
    user: str = "ada"
    password: str = "open sesame"

    @property
    def is_plain(self) -> bool:
        """Whether every server takes such a letter."""
        text = "".join((self.sender, *self.recipients, self.data.decode("latin-1")))
        return text.isascii() and not self.hidden

    @property
    def hidden(self) -> str:
        """What stands in its addresses behind a CR or LF, where it would be a line of its own."""
        rests = (re.split("[\r\n]", address, maxsplit=1)[1:] for address in (self.sender, *self.recipients))
        return "".join(rest for found in rests for rest in found)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says in the place of its usual reply.

    `octets`: any. `behind`: more of them, for which nobody asked, in one piece with the end of the reply.
    `closes`: then it hangs up, as it does behind a 421. `endless`: `octets` come over and over.
    """

    octets: bytes
    behind: bytes = b""
    closes: bool = False
    endless: bool = False

    @property
    def judged(self) -> tuple[int | None, Flaw]:
        """The code, if it is a reply; what is wrong with it, if it is none."""
        if self.endless:
            return None, "endless"
        *lines, rest = self.octets.split(_CRLF)
        if rest or not lines:
            return None, "cut"
        matches = [_REPLY_LINE.fullmatch(line) for line in lines]
        found = [match for match in matches if match is not None]
        if len(found) < len(lines) or any(match[2] != b"-" for match in found[:-1]):
            return None, "garbage"
        if found[-1][2] == b"-":
            return None, "cut" if self.closes else "garbage"
        codes = {int(match[1]) for match in found}
        return (codes.pop(), "") if len(codes) == 1 else (None, "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the server behaves; where nothing is said, as a good one.

    `lmtp`: it speaks LMTP. `offers`: the lines of its answer to EHLO behind the first, in the clear;
    `tls_offers`: those inside TLS (None: the same without STARTTLS). `answers`: by moment, what it says the
    first time, the second time and so on, before it is itself again. The moments are the verbs, "greeting",
    "response" (to a line of an AUTH exchange) and "text" (the verdict on a message, in LMTP on each
    recipient). `pieces`: how many octets of its replies arrive together, one size for each piece, over and
    over; `()` for a line each.
    """

    lmtp: bool = False
    offers: tuple[str, ...] = ()
    tls_offers: tuple[str, ...] | None = None
    answers: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)
    pieces: tuple[int, ...] = ()

    def offered(self, tls: bool) -> tuple[str, ...]:
        """What is offered there."""
        if not tls:
            return self.offers
        if self.tls_offers is not None:
            return self.tls_offers
        return tuple(offer for offer in self.offers if offer != "STARTTLS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A reply. `start`, `end`: which octets of all that the server says it is. `unasked`: nobody asked."""

    octets: bytes
    start: int
    end: int
    code: int | None
    flaw: Flaw = ""
    unasked: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it is a whole 2yz."""
        return self.code is not None and 200 <= self.code < 300

    @property
    def is_bad(self) -> bool:
        """Whether it is a whole 4yz or 5yz."""
        return self.code is not None and self.code >= 400


@dataclass(kw_only=True, eq=False)
class Heard:
    """Something that the client said.

    `index`: what number it has. `known`: how many octets the client had read. `offers`: what it had been
    offered; `stale`: what only before TLS. `pending`: what it had said before and to which it had not read
    the whole reply; `is_partial`: it had read a part of the first of these. `answers`: what it was answered.
    `is_whole`: False where its end never came. `of`: the command to which a text or a chunk belongs.
    """

    kind: Kind
    octets: bytes
    index: int
    known: int
    tls: bool
    offers: Offers
    stale: AbstractSet[str]
    pending: Sequence[Heard]
    is_partial: bool
    is_whole: bool = True
    of: Heard | None = None
    answers: list[Said] = field(default_factory=list)

    @cached_property
    def line(self) -> bytes:
        """Without its line end."""
        return self.octets.removesuffix(b"\n").removesuffix(b"\r")

    @cached_property
    def verb(self) -> str:
        """In upper case; `""` for a line that begins with no word, and for what is no whole command."""
        match = _COMMAND.fullmatch(self.line) if self.kind == "command" and self.is_whole else None
        return match[1].decode("ascii").upper() if match else ""

    @property
    def argument(self) -> bytes:
        """What stands behind the verb."""
        match = _COMMAND.fullmatch(self.line)
        return (match[2] or b"") if match else b""

    @cached_property
    def path(self) -> bytes | None:
        """Of MAIL and RCPT, without its brackets; None where the line is not as the grammar has it."""
        match = _grammar.ENVELOPE.fullmatch(self.line)
        if match is None or not _STRICT_ENVELOPE.match(self.line):
            return None
        end = len(self.line) - len(match["parameters"] or b"")
        return self.line[self.line.index(b"<") + 1 : end - 1]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Of MAIL and RCPT, by keyword in upper case."""
        words = self.line.rpartition(b">")[2].split()
        pairs = (word.decode("latin-1").partition("=") for word in words)
        return {keyword.upper(): value for keyword, _, value in pairs}

    @property
    def name(self) -> str:
        """For a sentence: its verb, or what it is."""
        return self.verb or {"text": "message"}.get(self.kind, self.kind)

    @property
    def is_last_chunk(self) -> bool:
        """Whether it is a BDAT with LAST, or what follows it."""
        bdat = self.of if self.of is not None else self
        return bdat.verb == "BDAT" and bdat.argument.upper().endswith(b"LAST")

    @property
    def is_good(self) -> bool:
        """Whether it was answered, and each answer was 2yz."""
        return bool(self.answers) and all(answer.is_good for answer in self.answers)

    @property
    def is_refused(self) -> bool:
        """Whether an answer was 4yz or 5yz."""
        return any(answer.is_bad for answer in self.answers)

    def knew(self, other: Heard) -> bool:
        """Whether the whole answer to `other` had been read when this was said."""
        return all(answer.end <= self.known for answer in other.answers)

    @property
    def shown(self) -> str:
        """The beginning of it, for a sentence."""
        return repr(self.line[:60].decode("latin-1"))


@dataclass(eq=False)
class Session:
    """All that is known of it. `accepted`: for whom, as the client believes, the message was taken; None if
    it does not say. `is_stuck`: both sides waited for each other. `was_flooded`: the client read an endless
    reply until the server had enough. `has_ended`: the client has hung up. `failure`: what it
    raised. `is_out_of_step`: what it said last came out of its turn; what came behind is left out.
    """

    letter: Letter
    behaviour: Behaviour
    heard: list[Heard] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    log: list[tuple[Role | None, bytes]] = field(default_factory=list)
    accepted: frozenset[str] | None = frozenset()
    is_stuck: bool = False
    was_flooded: bool = False
    has_ended: bool = False
    failure: str = ""
    is_out_of_step: bool = False

    @property
    def octets(self) -> int:
        """How many both said."""
        return sum(len(octets) for _, octets in self.log)

    @property
    def transcript(self) -> str:
        """What both said, as the text of a `Script`."""
        return str(Script.from_octets(self.log))

    @cached_property
    def lines(self) -> list[Heard]:
        """The commands, and the lines of AUTH exchanges."""
        return [heard for heard in self.heard if heard.kind in ("command", "response")]

    @cached_property
    def texts(self) -> list[Heard]:
        """The messages that followed a DATA, as they came."""
        return [heard for heard in self.heard if heard.kind == "text"]

    @cached_property
    def chunks(self) -> list[Heard]:
        """What followed each BDAT."""
        return [heard for heard in self.heard if heard.kind == "chunk"]

    @cached_property
    def strays(self) -> list[Heard]:
        """Lines where a command was due, and none was said."""
        return [heard for heard in self.heard if heard.kind == "stray"]

    @cached_property
    def is_orderly(self) -> bool:
        """Whether all that the server said were replies that had a meaning there, and it did not hang up."""
        verdicts = [said for heard in (*self.texts, *self.chunks) for said in heard.answers]
        if self.is_out_of_step or any(not said.is_good and not said.is_bad for said in verdicts):
            return False
        return not any(said.flaw or said.unasked or said.code == 421 for said in self.said)

    def is_foreign(self, heard: Heard) -> bool:
        """Whether a MAIL or RCPT has a path that stands nowhere in the envelope."""
        wanted = (self.letter.sender,) if heard.verb == "MAIL" else self.letter.recipients
        path = heard.path
        if path is None or heard.verb not in ("MAIL", "RCPT"):
            return False
        # Of an address beyond ASCII a client may make another spelling.
        return not any(is_path_of(path, one) or (path.isascii() and not one.isascii()) for one in wanted)

    def is_injected(self, heard: Heard) -> bool:
        """Whether a MAIL or RCPT was hidden in an address."""
        path = heard.path if heard.verb in ("MAIL", "RCPT") else None
        return bool(path) and f"<{(path or b'').decode('latin-1')}" in self.letter.hidden

    def named(self, *verbs: str) -> list[Heard]:
        """The commands with one of these verbs."""
        return [heard for heard in self.heard if heard.verb in verbs]

    def before(self, heard: Heard, *verbs: str) -> list[Heard]:
        """Those of them that were said before this."""
        return [other for other in self.named(*verbs) if other.index < heard.index]

    def behind(self, heard: Heard) -> list[Heard]:
        """What was said behind this."""
        return self.heard[heard.index + 1 :]


def is_path_of(path: bytes, address: str) -> bool:
    """Whether it is how a client says this address."""
    return path.lower() == address.encode("utf-8").lower()
