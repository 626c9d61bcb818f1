"""Octets that went to two parsers, what came of it, and what can be said of the difference."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mailboxes import has_control, has_line_end, is_literal, is_path, is_route, is_utf8, meaning, split

Result = Any
"""What came of octets: a tuple of what they were taken for; None, "refuses", "ends" or "waits"."""


class Case(NamedTuple):
    """Octets that went to both."""

    kind: str
    """What they were to be, such as "reply" or "command"; as entries of explained.py say it."""
    octets: bytes
    ours: Result
    theirs: Result

    @property
    def both(self) -> bool:
        """Whether both took the octets for the same, but for a detail."""
        found = self.ours, self.theirs
        return all(isinstance(one, tuple) for one in found) and self.ours[0] == self.theirs[0]

    @property
    def only_theirs(self) -> bool:
        """Whether the other one takes what we refuse."""
        return self.ours in (None, "refuses") and self.theirs not in (None, "refuses", "ends", "waits")


# --- What smtplib makes of replies


def said(case: Case) -> list[bytes]:
    """The lines that smtplib took for a reply, each with its line end."""
    return re.findall(rb"[^\n]*\n|[^\n]+", case.octets[: len(case.octets) - len(case.theirs[2])])


def reply(holds: Callable[[list[bytes]], bool]) -> Callable[[Case], bool]:
    """Only smtplib takes these lines for a reply, and `holds` is true of them."""
    return lambda case: case.only_theirs and holds(said(case))


def is_line(line: bytes) -> bool:
    return re.fullmatch(rb"[2-5][0-9]{2}(?:[ -][^\r\n\0]*)?\r?\n", line) is not None


def texts(case: Case) -> tuple[list[bytes], list[bytes]]:
    """The lines of both: of ours without outer blanks; of theirs without NUL in them, if it is an offer."""
    ours, theirs = case.ours[1].split(b"\n"), case.theirs[1].split(b"\n")
    return [line.strip(b" \t\r\n") for line in ours], [
        line for line in theirs if b"\0" not in line or case.kind != "hello"
    ]


def same_texts(holds: Callable[[Case], bool]) -> Callable[[Case], bool]:
    """Both took the same reply, these blanks and lines apart, and `holds` is true of it."""

    def judge(case: Case) -> bool:
        if not case.both or case.ours[2] != case.theirs[2]:
            return False
        ours, theirs = texts(case)
        return ours == theirs and holds(case)

    return judge


Offer = dict[str, list[str]]


def without_blanks(offer: Offer) -> Offer:
    return {name: [word for word in words if word] for name, words in offer.items()}


def without_equals(offer: Offer) -> Offer:
    return {name: [word.removeprefix("=") for word in words[:1]] + words[1:] for name, words in offer.items()}


def without_doubles(offer: Offer) -> Offer:
    return {name: list(dict.fromkeys(words)) if name == "auth" else words for name, words in offer.items()}


def mended(mend: Callable[[Offer], Offer]) -> Callable[[Case], bool]:
    """`mend` changes what smtplib takes this offer for; with it and the others it is what it is to us."""

    def judge(case: Case) -> bool:
        merged = without_blanks(case.theirs)
        # To smtplib, "X =a" and "X=a" are the same.
        fits = any(without_doubles(offer) == case.ours for offer in (merged, without_equals(merged)))
        return fits and mend(case.theirs) != case.theirs

    return judge


def is_extension(line: bytes) -> bool:
    return re.fullmatch(rb" *[A-Za-z0-9][A-Za-z0-9-]*(=[!-~]+)?( +[!-~]+)* *", line) is not None


# --- Paths and bodies


def has_blank(octets: bytes) -> bool:
    """Whether there is one beyond ASCII."""
    return any(c.isspace() and not c.isascii() for c in octets.decode("utf-8", "replace"))


def gist(address: str) -> tuple[bytes, bytes | None]:
    """What an address means, without blanks beyond ASCII."""
    kept = "".join(c for c in address if c.isascii() or not c.isspace())
    return meaning(kept.encode("utf-8", "surrogateescape"))


def same_mailbox(case: Case) -> bool:
    """Both found the same mailbox, quoted somehow, with blanks and a source route or without."""
    if case.ours is None or case.theirs is None:
        return False
    path = case.ours[1:-1]
    return gist(path.partition(":")[2] if path.startswith("@") else path) == gist(case.theirs[1:-1])


def regular(octets: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def ended(octets: bytes) -> bytes:
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def plain(sent: bytes) -> bytes:
    """A message without the dots and the end that it has on the way."""
    return re.sub(rb"(?m)^\.", b"", sent.removesuffix(b".\r\n"))


def sent_as_it_is(case: Case) -> bool:
    octets = case.octets
    return plain(case.theirs) == ended(octets) and plain(case.ours) == ended(regular(octets))


# --- What aiosmtpd makes of commands


class Envelope(NamedTuple):
    """The parts of a MAIL or RCPT."""

    is_mail: bool
    rest: bytes
    """All behind the colon, without blanks at the ends."""
    path: bytes
    """What stands between "<" and the last ">"; all, if one of these is missing."""
    behind: bytes

    @property
    def parts(self) -> tuple[bytes, bytes, bytes | None]:
        """Source route, local part and domain."""
        route, _, behind = self.path.partition(b":") if self.path[:1] == b"@" else (b"", b"", self.path)
        return route, *split(behind)

    @property
    def words(self) -> list[tuple[str, str]]:
        """Names and values of the parameters, as aiosmtpd parts them."""
        words = self.behind.decode("utf-8", "surrogateescape").upper().split()
        return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def envelope(holds: Callable[[Envelope], bool]) -> Callable[[Case], bool]:
    """Only aiosmtpd takes this MAIL or RCPT, and `holds` is true of it."""

    def judge(case: Case) -> bool:
        match = re.fullmatch(rb"(?is)(MAIL +FROM|RCPT +TO):(.*)\r\n", case.octets)
        if match is None or not case.only_theirs:
            return False
        rest = match[2].strip(b" ")
        framed = re.fullmatch(rb"(?s)<(.*)>([^>]*)", rest)
        return holds(Envelope(match[1][:1] in b"Mm", rest, *(framed.groups() if framed else (rest, b""))))

    return judge


def mailbox(holds: Callable[[bytes, bytes], bool]) -> Callable[[Case], bool]:
    """The same of local part and domain of what is no path, but of printable text."""

    def judge(it: Envelope) -> bool:
        route, local, domain = it.parts
        is_text = is_utf8(it.path) and not has_control(it.path) and not has_line_end(it.path)
        return is_text and (not route or is_route(route)) and domain is not None and holds(local, domain)

    return envelope(judge)


def is_header_syntax(path: bytes) -> bool:
    """Whether there are blanks, comments, quotes or backslashes in it, none of them where it may be."""
    return not is_path(path) and re.search(rb'[ ()"\\]', path) is not None


def is_name(octets: bytes) -> bool:
    return re.fullmatch(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", octets) is not None or is_literal(octets)


def is_foreign(line: bytes) -> bool:
    methods = rb"GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE|PRI"
    return re.match(rb"(?:%b) |[A-Za-z][A-Za-z0-9-]*:|\x16" % methods, line) is not None


def is_verbatim(case: Case) -> bool:
    """Both took a path with the same parameters, and ours is as it was written."""
    return (
        case.both
        and case.ours[0] in ("MAIL", "RCPT")
        and case.ours[2] == case.theirs[2]
        and case.ours[1].encode("utf-8") in case.octets
    )


def same_address(case: Case) -> bool:
    """So it is, and both addresses are the same, quoted somehow, with blanks or without."""
    return is_verbatim(case) and gist(case.ours[1]) == gist(case.theirs[1])
