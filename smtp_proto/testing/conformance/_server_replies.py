"""A reply as it came, octet by octet, and what is wrong with its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Reply-code = %x32-35 %x30-35 %x30-39                                             (RFC 5321 4.2)
_LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])(.*))?", re.DOTALL)
# Three digits of any value: whoever wrote this, it can be told where the reply ends.
_LOOSE_LINE = re.compile(rb"([0-9]{3})(?:([ -])(.*))?", re.DOTALL)
# textstring = 1*(%d09 / %d32-126), and UTF-8 where the client asked for it       (RFC 6531 3.7.4)
_TEXT = re.compile(rb"[\t -~]*")
_UTF8_TEXT = re.compile(rb"[\t -~\x80-\xff]*")
# status-code = class "." subject "." detail                                         (RFC 3463 2)
_ENHANCED = re.compile(rb"([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?: .*)?", re.DOTALL)

_LINE_OCTETS = 512


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its lines with their ends. `code`: that of the last line, 0 where it has none."""

    lines: tuple[bytes, ...]
    code: int
    texts: tuple[bytes, ...]

    @property
    def kind(self) -> int:
        """The first digit."""
        return self.code // 100

    def __str__(self) -> str:
        return repr(self.lines[-1].decode("latin-1").rstrip("\r\n"))


def is_last(line: bytes) -> bool:
    """Whether no other line of the same reply follows this one."""
    match = _LOOSE_LINE.fullmatch(_without_end(line))
    return match is None or match[2] != b"-"


def read(lines: list[bytes]) -> Answer:
    """The reply that these lines are."""
    matches = [_LOOSE_LINE.fullmatch(_without_end(line)) for line in lines]
    texts = tuple((match[3] or b"") if match else b"" for match in matches)
    last = matches[-1]
    return Answer(tuple(lines), int(last[1]) if last else 0, texts)


def faults(answer: Answer, *, utf8: bool) -> Iterator[tuple[str, bool, str]]:
    """What rules there are about the form of a reply, whether each is kept, and what was seen."""
    text = _UTF8_TEXT if utf8 else _TEXT
    shown = [line.decode("latin-1") for line in answer.lines]
    bare = [_without_end(line) for line in answer.lines]
    yield "reply-syntax", all(map(_LINE.fullmatch, bare)), f"no reply: {shown}"
    codes = {line[:3] for line in bare}
    yield "reply-codes", len(codes) == 1, f"several codes in one reply: {shown}"
    ends = all(line.endswith(b"\r\n") for line in answer.lines)
    yield "reply-line-end", ends, f"a line without CRLF: {shown}"
    longest = max(map(len, answer.lines))
    yield "reply-line-length", longest <= _LINE_OCTETS, f"a line of {longest} octets"
    yield "reply-text", all(map(text.fullmatch, bare)), f"other octets in the text: {shown}"


def enhanced_faults(answer: Answer) -> Iterator[tuple[str, bool, str]]:
    """The same for its enhanced status codes."""
    matches = [_ENHANCED.fullmatch(line) for line in answer.texts]
    codes = [match[1] for match in matches if match]
    yield "enhanced-codes", len(codes) == len(matches), f"no enhanced code in {answer}"
    if codes:
        of_class = all(code == b"%d" % answer.kind for code in codes)
        yield "enhanced-class", of_class, f"the classes differ in {answer}"


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")
