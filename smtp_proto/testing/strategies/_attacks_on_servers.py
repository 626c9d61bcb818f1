"""What a client may do to a server. Each attack wants a transaction with a sender that nobody named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ._attack import MARK
from ._text import VISIBLE, some

Steps = SearchStrategy[tuple[bytes, ...]]

_EHLO = b"EHLO client.example\r\n"
_MAIL = b"MAIL FROM:<a@client.example>\r\n"
_SMUGGLED = b"MAIL FROM:<a@" + MARK.encode() + b">\r\n"
_QUIT = b"QUIT\r\n"
_CRLF = b"\r\n"

# What others take for CRLF.CRLF, if not all of them: CVE-2023-51764 and its relatives.
NEAR_MISSES = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n",
    b"\r\n. \r\n", b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\r\n .\r\n", b"\r\r\n.\r\r\n", b"\n\n.\n\n",
    b"\r\n..\r\n", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\x85.\x85", b"\x0b.\x0b",
)  # fmt: skip
# What ends a line for some, and for others not.
LINE_ENDS = (
    b"\n", b"\r", b"\n\r", b"\r\r", b"\r\0\n", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\x85",
    b"\xe2\x80\xa8",
)  # fmt: skip
_NO_SIZES = (
    b"-1", b"+9", b"9_9", b"0x99", b"1e2", b"9.", b"4294967296k", b"18446744073709551617", b"9" * 40, b"",
    b"\xd9\xa9", b"9,LAST", b"9 LASTLY",
)  # fmt: skip
_HTTP = (
    b"POST / HTTP/1.1", b"GET /\xff HTTP/1.0", b"CONNECT mx.example:25 HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"PUT /a HTTP/1.1", b"Host: mx.example",
)  # fmt: skip
_FOLDED = ("MA\u0131L FROM:<{}>", "M\uff21IL FROM:<{}>", "MAIL FROM\uff1a<{}>", "MAI\u029f FROM:<{}>")
_BROKEN_XTEXT = ("ENVID=a+0D+0A{}", "ENVID=+0A{}", "AUTH=a+0D+0Ab@{}", "AUTH=a@b+00{}")


def _texts() -> SearchStrategy[bytes]:
    return some(VISIBLE.replace(".", ""), 8).map(str.encode)


def _smuggled(recipient: bytes) -> bytes:
    """A message that nobody said."""
    return _SMUGGLED + b"RCPT TO:<%b>\r\nDATA\r\nSubject: smuggled\r\n\r\n" % recipient


def _smuggling(recipient: bytes) -> Steps:
    rcpt = b"RCPT TO:<%b>\r\n" % recipient

    def steps(text: bytes, near_miss: bytes) -> tuple[bytes, ...]:
        body = b"Subject: hi\r\n\r\n" + text + near_miss + _smuggled(recipient) + b".\r\n"
        return _EHLO, _MAIL, rcpt, b"DATA\r\n", body, _QUIT

    return st.builds(steps, _texts(), st.sampled_from(NEAR_MISSES))


def _injection(recipient: bytes) -> Steps:
    hosts = st.sampled_from([b"NOOP ", b"HELP ", b"VRFY ", b"MAIL FROM:<a@client.example> X=", b"RSET"])

    def steps(host: bytes, text: bytes, end: bytes) -> tuple[bytes, ...]:
        return _EHLO, host + text + end + _SMUGGLED, _QUIT

    return st.builds(steps, hosts, _texts(), st.sampled_from(LINE_ENDS))


def _starttls(recipient: bytes) -> Steps:
    behind = [_EHLO + _smuggled(recipient), _SMUGGLED, _SMUGGLED[:-2], b"EHLO " + MARK.encode()]
    return st.sampled_from(behind).map(lambda octets: (_EHLO, b"STARTTLS\r\n" + octets))


def _bdat(recipient: bytes) -> Steps:
    """A chunk whose size is none, or that is refused for want of a transaction: it is no command."""
    sized = st.sampled_from([b"BDAT %d\r\n", b"BDAT %d LAST\r\n"]).map(lambda line: line % len(_SMUGGLED))
    bad = st.sampled_from(_NO_SIZES).map(lambda size: b"BDAT " + size + _CRLF)
    return (bad | sized).map(lambda line: (_EHLO, line + _SMUGGLED, _QUIT))


def _refused_data(recipient: bytes) -> Steps:
    before = st.sampled_from([(), (_MAIL,)])
    return before.map(lambda said: (_EHLO, *said, b"DATA\r\n" + _SMUGGLED + b".\r\n", _QUIT))


def _cross_protocol(recipient: bytes) -> Steps:
    def steps(line: bytes, length: int) -> tuple[bytes, ...]:
        head = b"%b\r\nContent-Length: %d\r\n\r\n" % (line, length)
        return (head + b"EHLO client.example\r\n" + _smuggled(recipient) + b".\r\n",)

    return st.builds(steps, st.sampled_from(_HTTP), st.integers(0, 999))


def _folding(recipient: bytes) -> Steps:
    lines = st.sampled_from(_FOLDED).map(lambda line: line.format(f"a@{MARK}").encode() + _CRLF)
    return lines.map(lambda line: (_EHLO, line, _QUIT))


def _xtext(recipient: bytes) -> Steps:
    parameters = st.sampled_from(_BROKEN_XTEXT).map(lambda parameter: parameter.format(MARK).encode())
    return parameters.map(lambda parameter: (_EHLO, _MAIL[:-2] + b" " + parameter + _CRLF, _QUIT))


def _overflow(recipient: bytes) -> Steps:
    sizes = st.sampled_from([b"9" * 21, b"%d" % 2**128, b"-1", b"1 SIZE=2", b"1 size=99999999999999999999"])
    return sizes.map(lambda size: (_EHLO, _SMUGGLED[:-2] + b" SIZE=" + size + _CRLF, _QUIT))


def _line_flood(recipient: bytes) -> Steps:
    hosts = st.sampled_from([b"", b"NOOP ", b"AUTH PLAIN ", b"MAIL FROM:<a@client.example> ", b"MAIL FROM:<"])
    fillings = st.sampled_from([b"a", b"\0", b" ", b"A=b ", b"\r", b"\xff"])
    return st.builds(lambda host, filling: (_EHLO, host + filling * (65536 // len(filling))), hosts, fillings)


def _command_flood(recipient: bytes) -> Steps:
    lines = st.sampled_from([b"\r\n", b"XYZZY\r\n", b"MAIL FROM:<\r\n", b"DATA a\r\n", b"AUTH !\r\n"])
    return lines.map(lambda line: (_EHLO, line * 1000))


def _recipient_flood(recipient: bytes) -> Steps:
    rcpt = b"RCPT TO:<%b>\r\n" % recipient
    return st.integers(2000, 3000).map(lambda number: (_EHLO, _MAIL, rcpt * number))


ON_SERVERS: Mapping[str, tuple[str, str, Callable[[bytes], Steps]]] = {
    "smuggling": ("take anything but CRLF.CRLF for the end of a message", MARK, _smuggling),
    "command injection": ("take anything but CRLF for the end of a command", MARK, _injection),
    "STARTTLS injection": ("execute after the handshake what came before it", MARK, _starttls),
    "BDAT desync": ("execute the octets of a chunk that it refused", MARK, _bdat),
    "refused DATA": ("execute the message behind a DATA that it refused", MARK, _refused_data),
    "cross-protocol": ("execute what stands in the request of another protocol", MARK, _cross_protocol),
    "folded verb": ("take characters beyond ASCII for those of a verb", MARK, _folding),
    "xtext injection": ("pass on a line end or NUL that xtext hides", MARK, _xtext),
    "size overflow": ("take a size of more than 20 digits, or one of two", MARK, _overflow),
    "line flood": ("keep a line that has no end", "", _line_flood),
    "command flood": ("answer bad commands for ever", "", _command_flood),
    "recipient flood": ("take recipients for ever", "", _recipient_flood),
}
"""What each is called, what must not happen, the mark, and the steps for a recipient who is known there."""
