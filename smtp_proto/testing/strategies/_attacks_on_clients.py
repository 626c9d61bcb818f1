"""What a server, or somebody between, may do to a client. A step is what comes back for all that was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from ._attack import MARK
from ._attacks_on_servers import LINE_ENDS, Steps

_GREETING = b"220 mx.example ESMTP\r\n"
_HELLO = b"250 mx.example\r\n"
_STARTTLS = b"250-mx.example\r\n250 STARTTLS\r\n"
_OK = b"250 ok\r\n"
_MARK = MARK.encode()
_FLOOD = 262144
_KEYWORD = b"250-mx.example\r\n250 XMARK=" + _MARK + b"\r\n"

_NO_CODES = (
    "2_5", "+25", " 250", "25", "2", "2500", "\u0662\u0665\u0660", "\xb2\u2075\u2070", "25O", "0xFA", "250\t",
    "250/", "1e2", "",
)  # fmt: skip
_OTHER_PROTOCOLS = (
    b"HTTP/1.1 200 OK\r\nServer: %b\r\n\r\n", b"SSH-2.0-%b\r\n", b"* OK IMAP4rev1 %b\r\n", b"+OK POP3 %b\r\n",
    b"\x15\x03\x03\x00\x02\x02\x28%b\r\n", b"J\x00\x00\x00\n8.0.33 %b\x00\r\n",
)  # fmt: skip


def _response_injection() -> Steps:
    behind = st.sampled_from([_KEYWORD, _KEYWORD[:-2], _OK + _KEYWORD, b"250 " + _MARK])
    return behind.map(lambda octets: (_GREETING, _STARTTLS, b"220 go ahead\r\n" + octets))


def _stripping() -> Steps:
    """No STARTTLS, or one that does not succeed: RFC 3207 6."""
    hidden = [_HELLO, b"250-mx.example\r\n250 XXXXXXXA\r\n", b"250 mx.example STARTTLS\r\n"]
    refused = [b"454 4.7.0 not now\r\n", b"502 5.5.1 what\r\n", _OK]
    answers = [(hello,) for hello in hidden] + [(_STARTTLS, answer) for answer in refused]
    return st.sampled_from(answers).map(lambda said: (_GREETING, *said, _OK, _OK, _OK))


def _too_many() -> Steps:
    """The answer to what was not asked yet: from now on each is taken for that to the next command."""
    answers = (_GREETING, _HELLO, _OK, _OK)
    forged = b"250 forged by " + _MARK + b"\r\n"
    return st.integers(0, len(answers) - 1).map(lambda at: (*answers[:at], answers[at] + forged))


def _early_verdict() -> Steps:
    forged = b"354 go ahead\r\n250 " + _MARK + b" has it\r\n"
    return st.just((_GREETING, _HELLO, _OK, _OK, forged))


def _two_verdicts() -> Steps:
    replies = (b"250-%b\r\n550 no\r\n", b"550-no\r\n250 %b\r\n", b"250-%b\r\n450-a\r\n250 b\r\n")
    return st.sampled_from(replies).map(lambda reply: (_GREETING, _HELLO, reply % _MARK))


def _disguised() -> Steps:
    """One line for some, and two for others."""

    def steps(end: bytes, second: bytes) -> tuple[bytes, ...]:
        return _GREETING, b"250-mx.example\r\n250-SIZE 1" + end + second % _MARK + b"\r\n" + _OK

    ends = st.sampled_from([end for end in LINE_ENDS if b"\n" not in end])
    return st.builds(steps, ends, st.sampled_from([b"250-AUTH %b", b"250 AUTH %b", b"AUTH %b"]))


def _no_code() -> Steps:
    codes = st.sampled_from(_NO_CODES)
    return codes.map(lambda code: (_GREETING, _HELLO, f"{code} {MARK}\r\n".encode()))


def _cut_off() -> Steps:
    """The connection ends before the line does."""
    lines = st.sampled_from([b"250 %b", b"250 %b\r", b"250-%b\r\n", b"250-%b\r\n250", b"250-%b\r\n25"])
    return lines.map(lambda line: (_GREETING, _HELLO, line % _MARK))


def _other_protocol() -> Steps:
    return st.sampled_from(_OTHER_PROTOCOLS).map(lambda line: (line % _MARK,))


def _reply_flood() -> Steps:
    """A reply of more and more lines, or one line that grows."""
    floods = [(b"", line) for line in (b"250-\r\n", b"250-XA\r\n", b"250-" + b"a" * 500 + b"\r\n")]
    floods += [(b"250 ", filling) for filling in (b"a", b"250-", b"\0", b"\r")]
    before = st.sampled_from([(), (_GREETING,), (_GREETING, _HELLO)])
    return st.builds(
        lambda said, flood: (*said, flood[0] + flood[1] * (_FLOOD // len(flood[1]))),
        before,
        st.sampled_from(floods),
    )


ON_CLIENTS: Mapping[str, tuple[str, str, Callable[[], Steps]]] = {
    "response injection": ("believe after the handshake what came before it", MARK, _response_injection),
    "STARTTLS stripping": ("go on without TLS where it was to be used", "", _stripping),
    "unasked reply": ("take a reply for the answer to what it says later", MARK, _too_many),
    "early verdict": ("believe that a message was taken before it has sent it", MARK, _early_verdict),
    "split verdict": ("take a reply with two codes for a good one", MARK, _two_verdicts),
    "disguised line": ("take anything but CRLF or LF for the end of a line", MARK, _disguised),
    "odd code": ("take anything for a code but three digits", MARK, _no_code),
    "cut reply": ("take a reply that is not complete for an answer", MARK, _cut_off),
    "other protocol": ("take another protocol for a greeting", MARK, _other_protocol),
    "reply flood": ("keep a reply that has no end", "", _reply_flood),
}
"""What each is called, what must not happen, the mark, and the steps."""
