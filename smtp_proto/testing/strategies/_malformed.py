"""Lines that are none: what a server has to refuse, and what a client must not take for an answer."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._commands import AuthResponse, EndOfMessage, MessageData
from ..._writers import WRITERS
from ._addresses import mailboxes
from ._commands import KINDS, commands
from ._replies import reply_texts
from ._text import VISIBLE

_CRLF = b"\r\n"

# No mailbox, and nothing else that may stand between angle brackets (RFC 5321 4.1.2).
_NO_PATHS = (
    "a", "@", "a@", "@b.example", "a@b@c.example", "a b@c.example", "a..b@c.example", ".a@c.example",
    "a.@c.example", "a@.b", "a@b.", "a@b..c", "a@-b", "a@b-.c", "a@b_c", "a(b)@c.example", "A <b@c.example>",
    '"a@b.example', 'a"b"@c.example', '"a"b"@c.example', '"a\\"@b.example', "a@[1.2.3]", "a@[1.2.3.256]",
    "a@[IPv6:::1", "a@[IPv6:1::2::3]", "a@[IPv6:fe80::1%eth0]", "a@[]", "@a.example,@b.example",
    "<a@b.example>", "@a:", "a,b@c.example", "\xe9\x01@b.example",
)  # fmt: skip
# Around a path: none is as RFC 5321 4.1.1.2 and 4.1.1.3 have it.
_NO_ENVELOPES = (
    "MAIL", "RCPT", "MAIL FROM", "RCPT TO", "MAIL FROM:", "RCPT TO:", "MAIL TO:<a@b.example>",
    "RCPT FROM:<a@b.example>", "MAILFROM:<a@b.example>", "MAIL FROM<a@b.example>", "MAIL FROM:a@b.example",
    "RCPT TO:a@b.example", "MAIL FROM:<a@b.example", "RCPT TO:a@b.example>", "RCPT TO:<a@b.example>>",
    "RCPT TO:<>", "RCPT TO:<a@b.example> <c@d.example>", "MAIL FROM:<a@b.example>SIZE=1",
    "MAIL FROM:<postmaster>",
)  # fmt: skip
_NO_PARAMETERS = ("=", "=a", "-A", "A=", "A=b=c", "A_B=c", "A B=", "<>", "A=b\x01", "\xe9")
# Too much or too little behind the verb, or no verb at all.
_NO_COMMANDS = (
    "", " ", "1", "123", "-", "@", "!", "<a@b.example>", ".", " NOOP", "RSET a", "DATA a", "QUIT a",
    "STARTTLS a",
    "EHLO", "HELO", "EHLO a b", "EHLO a@b", "EHLO [1.2.3]", "VRFY", "EXPN", "M\xe4IL FROM:<a@b.example>",
    "BDAT", "BDAT a", "BDAT -1", "BDAT +1", "BDAT 1 FIRST", "BDAT 0x1", "AUTH",
    "AUTH PLAIN a", "AUTH PLA!N", "AUTH PLAIN ====",
)  # fmt: skip
_NO_CODES = (
    "", "2", "25", "099", "199", "600", "999", "2500", "2 50", " 250", "+25", "-50", "2_5", "25O", "0x0",
    "\u0662\u0665\u0660", "\xb250", "<250>",
)  # fmt: skip
_OTHER_PROTOCOLS = (
    "HTTP/1.1 400 Bad Request", "SSH-2.0-OpenSSH_9.6", "* OK IMAP4rev1 ready", "+OK POP3 ready", "ok",
    "\x15\x03\x03\x00\x02\x02\x28",
)  # fmt: skip

_Lines = SearchStrategy[str]
_LINES = tuple(kind for kind in KINDS if kind not in (AuthResponse, MessageData, EndOfMessage))


@cache
def malformed_commands() -> SearchStrategy[bytes]:
    """The octets of a command that no RFC allows, up to its CRLF: a bad verb, path or parameter, too few
    arguments or too many; and good commands with a control character in them, or with octets that are no
    UTF-8.
    """
    envelopes = st.sampled_from(["MAIL FROM:<", "RCPT TO:<"])
    bad_paths: _Lines = st.builds("{}{}>".format, envelopes, st.sampled_from(_NO_PATHS))
    no_parameters = st.sampled_from(_NO_PARAMETERS)
    bad_parameters: _Lines = st.builds("{}{}> {}".format, envelopes, mailboxes(), no_parameters)
    texts = st.sampled_from(_NO_COMMANDS + _NO_ENVELOPES) | bad_paths | bad_parameters
    controls = st.sampled_from([*b"\r\n\0" * 8, *range(32), 127])
    broken = _with_octet(controls) | _with_octet(st.integers(128, 255)).filter(_is_no_text)
    return (texts.map(str.encode) | broken).map(lambda line: line + _CRLF)


@st.composite
def _with_octet(draw: st.DrawFn, octets: SearchStrategy[int]) -> bytes:
    """A good line with one of these octets put somewhere into it."""
    command = draw(commands(*_LINES))
    line = WRITERS[type(command)](command).removesuffix(_CRLF)
    at = draw(st.integers(0, 100)) % (len(line) + 1)
    return line[:at] + bytes([draw(octets)]) + line[at:]


def _is_no_text(line: bytes) -> bool:
    return "\ufffd" in line.decode("utf-8", "replace")


@cache
def malformed_replies() -> SearchStrategy[bytes]:
    """The octets of a reply that RFC 5321 4.2 does not allow, up to its last CRLF: no code, or one that is
    none, several that differ, CR or NUL in a text, and how other protocols greet. What every client tolerates
    is not among them, such as a second digit above 5.
    """
    codes, texts = st.integers(200, 599), reply_texts()
    no_separators = st.sampled_from(VISIBLE.replace("-", ""))
    pairs = st.lists(codes, min_size=2, max_size=2, unique=True)
    lines: _Lines = st.one_of(
        st.builds("{} {}".format, st.sampled_from(_NO_CODES), texts),
        st.sampled_from(_OTHER_PROTOCOLS),
        st.builds("{}{}{}".format, codes, no_separators, texts),
        st.builds("{}{}{}{}{}".format, codes, st.sampled_from(" -"), texts, st.sampled_from("\0\r"), texts),
        st.builds("{0[0]}-{1}\r\n{0[1]} {2}".format, pairs, texts, texts),
        st.builds("{}-{}\r\n{}".format, codes, texts, st.sampled_from(["", " ", *_OTHER_PROTOCOLS])),
    )
    return lines.map(lambda text: f"{text}\r\n".encode("utf-8", "surrogateescape"))
