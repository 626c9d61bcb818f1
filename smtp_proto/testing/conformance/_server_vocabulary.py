"""The vocabulary: every word, and the rule that its wording is about."""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import replace
from itertools import chain

from ..._features import Features
from ._server_options import ServerOptions
from ._server_words import Move, Word, content, line, raw

# Both are what nobody has registered, and nobody will.
_UNKNOWN = "XNOSUCH"
_LABEL = "a" * 63
# Nothing is missing that a server might add (RFC 5321 6.4, RFC 5322 3.6).
HEADER = (
    b"Subject: a check\r\nFrom: Ada <ada@client.example>\r\nTo: Bob <bob@client.example>\r\n"
    b"Date: Thu, 1 Jan 2026 12:00:00 +0000\r\nMessage-ID: <check@client.example>\r\n\r\n"
)
_BODY = Move(kind="CONTENT", octets=b"", ends="end-of-data")
_LONGEST_LINE = 512
# What some server took for the end of data once, or might; CRLF.CRLF is not among it.
_NEAR_ENDS = (
    *("\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n"),
    *("\r\n.\r\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n. \r\n"),
)
# Commands that EHLO can list; they are said as they are most harmless.
_LISTED = {"HELP": "HELP", "EXPN": "EXPN staff", "VRFY": "VRFY postmaster", "ETRN": "ETRN {domain}"}

_SESSION: dict[str, Word] = {
    "noop": line("NOOP", "noop", "accepted"),
    "noop-argument": line("NOOP hello", "noop-argument", "accepted"),
    "noop-lower": line("nOoP", "verb-case", "understood"),
    "noop-blank": line("NOOP  ", "trailing-blank", "accepted", kind="NOOP"),
    "noop-long": line("NOOP " + "x" * (_LONGEST_LINE - 7), "command-line-length", "accepted"),
    "noop-pieces": line("NOOP", "command-pieces", "accepted", cut=5, ends="command-pieces"),
    "noop-cut": line("NOOP", "noop", "accepted", cut=-4),
    "rset": line("RSET", "rset", "accepted"),
    "rset-argument": line("RSET now", "no-argument", "refused"),
    "help": line("HELP", "help", "accepted", codes=(211, 214)),
    "vrfy": line("VRFY postmaster", "vrfy", "understood", codes=(500, 501, 503)),
    "unknown": line(f"{_UNKNOWN} hello", "unknown-command", "refused", codes=(500, 502)),
    "unknown-alone": line(f"{_UNKNOWN}", "unknown-command", "refused", codes=(500, 502)),
    "quit-argument": line("QUIT now", "no-argument", "refused"),
    **{
        f"{name.lower()}-listed": line(text, "ehlo-offers", "understood", codes=(500, 502), needs=(name,))
        for name, text in _LISTED.items()
    },
    "etrn-none": line("ETRN", "etrn-syntax", "refused", needs=("ETRN",)),
}

_HELLO: dict[str, Word] = {
    "ehlo": lambda options, features: line("LHLO {domain}" if options.lmtp else "EHLO {domain}")(
        options, features
    ),
    "ehlo-lower": lambda options, features: line(
        "lhlo {domain}" if options.lmtp else "ehlo {domain}", "verb-case", "understood"
    )(options, features),
    "helo": line("HELO {domain}", needs=("smtp",)),
    "not-lhlo": line(
        "LHLO {domain}", "unknown-command", "refused", codes=(500, 502), needs=("smtp",), kind="OTHER"
    ),
    "not-ehlo": line("EHLO {domain}", "lmtp-no-ehlo", "refused", needs=("lmtp",), kind="OTHER"),
    "not-helo": line("HELO {domain}", "lmtp-no-ehlo", "refused", needs=("lmtp",), kind="OTHER"),
}

_MAIL: dict[str, Word] = {
    "mail": line("MAIL FROM:<{sender}>"),
    "mail-null": line("MAIL FROM:<>", "null-sender", "accepted"),
    "mail-lower": line("mail from:<{sender}>", "verb-case", "understood"),
    "mail-quoted": line(r'MAIL FROM:<"ada \"l\" x"@{at}>', "quoted-local-part", "understood"),
    "mail-literal": line("MAIL FROM:<ada@[192.0.2.1]>", "address-literal", "understood"),
    "mail-literal-6": line("MAIL FROM:<ada@[IPv6:2001:db8::1]>", "address-literal", "understood"),
    "mail-local": line(f"MAIL FROM:<{_LABEL}a@{{at}}>", "local-part-length", "understood"),
    "mail-path": line(f"MAIL FROM:<a@{'.'.join([_LABEL] * 3)}.{'a' * 60}>", "path-length", "understood"),
    "mail-alone": line("MAIL", "mail-syntax", "refused"),
    "mail-to": line("MAIL TO:<{sender}>", "mail-syntax", "refused"),
    "mail-open": line("MAIL FROM:<{sender}", "mail-syntax", "refused"),
    "mail-no-domain": line("MAIL FROM:<ada@>", "mail-syntax", "refused"),
    "mail-unknown": line(f"MAIL FROM:<{{sender}}> {_UNKNOWN}=1", "mail-parameter", "refused"),
    "mail-size-word": line("MAIL FROM:<{sender}> SIZE=many", "size-syntax", "refused", needs=("SIZE",)),
    "mail-8bit": line("MAIL FROM:<{sender}> BODY=8BITMIME", "8bitmime", "understood", needs=("8BITMIME",)),
    "mail-7bit": line("MAIL FROM:<{sender}> BODY=7BIT", "8bitmime", "understood", needs=("8BITMIME",)),
    "mail-9bit": line("MAIL FROM:<{sender}> BODY=9BIT", "body-value", "refused", needs=("8BITMIME",)),
    "mail-binary": line(
        "MAIL FROM:<{sender}> BODY=BINARYMIME", "binarymime", "understood", needs=("BINARYMIME",)
    ),
    "mail-utf8": line("MAIL FROM:<jürgen@{at}> SMTPUTF8", "smtputf8", "understood", needs=("SMTPUTF8",)),
    "mail-utf8-ascii": line("MAIL FROM:<{sender}> SMTPUTF8", "smtputf8", "understood", needs=("SMTPUTF8",)),
    "mail-no-utf8": line("MAIL FROM:<jürgen@{at}>", "smtputf8-missing", "refused"),
    "mail-dsn": line(
        "MAIL FROM:<{sender}> RET=HDRS ENVID=QQ314159", "dsn-mail", "understood", needs=("DSN",)
    ),
    "mail-ret": line("MAIL FROM:<{sender}> RET=SOME", "dsn-ret-value", "refused", needs=("DSN",)),
}

_RCPT: dict[str, Word] = {
    "rcpt": line("RCPT TO:<{rcpt}>"),
    "rcpt-second": line("RCPT TO:<{second}>"),
    "rcpt-refused": line("RCPT TO:<{refused}>", "rcpt-refused", "refused"),
    "rcpt-lower": line("rcpt to:<{rcpt}>", "verb-case", "understood"),
    "rcpt-hundred": line("RCPT TO:<{rcpt}>", "hundred-recipients", "accepted", needs=("many_recipients",)),
    "rcpt-postmaster": line("RCPT TO:<Postmaster>", "postmaster", "accepted", needs=("smtp",)),
    "rcpt-route": line("RCPT TO:<@a.example,@b.example:{rcpt}>", "source-route", "understood"),
    "rcpt-alone": line("RCPT", "rcpt-syntax", "refused"),
    "rcpt-from": line("RCPT FROM:<{rcpt}>", "rcpt-syntax", "refused"),
    "rcpt-null": line("RCPT TO:<>", "rcpt-syntax", "refused"),
    "rcpt-open": line("RCPT TO:<{rcpt}", "rcpt-syntax", "refused"),
    "rcpt-unknown": line(f"RCPT TO:<{{rcpt}}> {_UNKNOWN}=1", "rcpt-parameter", "refused"),
    "rcpt-dsn": line(
        "RCPT TO:<{rcpt}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@{at}",
        "dsn-rcpt",
        "understood",
        needs=("DSN",),
    ),
    "rcpt-notify": line(
        "RCPT TO:<{rcpt}> NOTIFY=NEVER,SUCCESS", "dsn-notify-value", "refused", needs=("DSN",)
    ),
}

_DATA: dict[str, Word] = {
    "data": line("DATA"),
    "data-lower": line("data", "verb-case", "understood"),
    "data-argument": line("DATA now", "no-argument", "refused"),
    "content": content(HEADER + b"hello\r\n", _BODY),
    "content-dots": content(HEADER + b".\r\n..\r\n.x\r\n", replace(_BODY, content_rule="dot-stuffing")),
    "content-dot-first": content(b"." + HEADER, replace(_BODY, content_rule="dot-stuffing")),
    "content-blanks": content(HEADER + b" x \r\n\t\r\n\r\n\r\n", _BODY),
    "content-8bit": content(
        HEADER + bytes(range(128, 256)) + b"\r\n",
        replace(_BODY, content_rule="8bitmime-content"),
        "8BITMIME",
    ),
    "content-long": content(
        HEADER + b"x" * 998 + b"\r\n", replace(_BODY, rule="text-line-length", want="accepted")
    ),
    "content-pieces": content(HEADER + b"hi\r\n", replace(_BODY, cut=-2)),
    "content-pieces-dot": content(HEADER + b"hi\r\n", replace(_BODY, cut=-4)),
    **{
        f"content-near-{number}": raw(
            Move(
                kind="CONTENT",
                octets=HEADER + b"x" + near.encode() + b"NOOP\r\n.\r\n",
                ends="bare-line-ends",
                may_close=True,
                is_final=True,
            ),
            *("attack", "deliver"),
        )
        for number, near in enumerate(_NEAR_ENDS)
    },
    "bare-lf": raw(
        _bare := Move(
            kind="OTHER", octets=b"NOOP\nRSET\r\n", ends="command-line-end", may_close=True, is_final=True
        )
    ),
    "bare-cr": raw(replace(_bare, octets=b"NOOP\rRSET\r\n")),
}


def chunk(data: bytes, *, last: bool = False, content: bytes | None = None) -> Move:
    """BDAT with this chunk, which ends a message that is `content`."""
    octets = b"BDAT %d%b\r\n%b" % (len(data), b" LAST" if last else b"", data)
    rule = "bdat-last" if last else "bdat"
    return Move(kind="BDAT", octets=octets, rule=rule, content=content, content_rule="bdat-content")


# A chunk that looks like a command: who runs it gives one answer too many.
_LINES = b"NOOP\r\nRSET\r\n"
_BDAT: dict[str, Word] = {
    "bdat": raw(chunk(_LINES), "CHUNKING"),
    "bdat-empty": raw(chunk(b""), "CHUNKING"),
    "bdat-bare": raw(chunk(b"\r\n.\r\n\n.\r."), "CHUNKING"),
    "bdat-last": raw(chunk(HEADER + _LINES, last=True, content=HEADER + _LINES), "CHUNKING", "deliver"),
    "bdat-dots": raw(
        chunk(HEADER + b".\r\n..\r\n", last=True, content=HEADER + b".\r\n..\r\n"), "CHUNKING", "deliver"
    ),
    "bdat-empty-last": raw(chunk(b"", last=True), "CHUNKING", "deliver"),
    "bdat-alone": line("BDAT", "bdat-syntax", "refused", needs=("CHUNKING",), kind="OTHER", may_close=True),
    "bdat-word": line(
        "BDAT many", "bdat-syntax", "refused", needs=("CHUNKING",), kind="OTHER", may_close=True
    ),
}


def _plain(user: str, password: str) -> str:
    return b2a_base64(f"\0{user}\0{password}".encode(), newline=False).decode()


def _login(options: ServerOptions, features: Features) -> Move | None:
    if options.credentials is None or "PLAIN" not in features.auth:
        return None
    said = f"AUTH PLAIN {_plain(*options.credentials)}\r\n".encode()
    return Move(kind="AUTH", octets=said, rule="auth", want="accepted", codes=frozenset({235}))


def _wrong(options: ServerOptions, features: Features) -> Move | None:
    if "PLAIN" not in features.auth:
        return None
    return line(f"AUTH PLAIN {_plain('nobody', 'wrong')}", "auth-fails", "refused")(options, features)


def _begin(options: ServerOptions, features: Features) -> Move | None:
    """An exchange in which the client says something behind the first challenge."""
    mechanism = next((name for name in ("LOGIN", "PLAIN", "CRAM-MD5") if name in features.auth), None)
    return Move(kind="AUTH", octets=f"AUTH {mechanism}\r\n".encode()) if mechanism else None


_TLS_AND_AUTH: dict[str, Word] = {
    "starttls": line("STARTTLS", needs=("starttls", "STARTTLS")),
    "starttls-argument": line("STARTTLS now", "starttls-argument", "refused", needs=("STARTTLS",)),
    "starttls-again": line("STARTTLS", needs=("starttls",)),
    "starttls-inject": raw(
        Move(
            kind="STARTTLS",
            octets=f"STARTTLS\r\n{_UNKNOWN}\r\n".encode(),
            ends="starttls-injection",
            may_close=True,
        ),
        *("attack", "starttls", "STARTTLS"),
    ),
    "login": _login,
    "auth-begin": _begin,
    "auth-wrong": _wrong,
    "auth-unknown": line(f"AUTH {_UNKNOWN}", "auth-mechanism", "refused", codes=(504,), needs=("AUTH",)),
    "auth-cancel": line("*", "auth-cancel", "refused", codes=(501,), kind="RESPONSE"),
    "auth-garbage": line("no = base64", "auth-base64", "refused", codes=(501,), kind="RESPONSE"),
}


def _size(over: int) -> Word:
    def word(options: ServerOptions, features: Features) -> Move | None:
        if features.size is None:
            return None
        said = f"MAIL FROM:<{{sender}}> SIZE={features.size + over}"
        return line(said, "size-declared", "refused", codes=(552,))(options, features)

    return word


def _too_big(options: ServerOptions, features: Features) -> Move | None:
    if features.size is None or features.size >= options.max_octets:
        return None
    lines = (features.size // 72 + 1) * (b"x" * 70 + b"\r\n")
    made = replace(_BODY, rule="size-exceeded", want="refused", codes=frozenset({552}))
    return content(HEADER + lines, made)(options, features)


WORDS: dict[str, Word] = dict(
    chain.from_iterable(
        part.items() for part in (_SESSION, _HELLO, _MAIL, _RCPT, _DATA, _BDAT, _TLS_AND_AUTH)
    )
) | {"mail-size": _size(1), "content-too-big": _too_big}
"""Everything that can be said, by its name."""
