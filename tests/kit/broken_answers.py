"""Servers that give one command one wrong answer, and are right otherwise: a row for each."""

from __future__ import annotations

import re

from tiny_server import TinyLMTP, TinyServer

OK, TEXT = b"250 2.1.0 ok", b"mx.example"

# What it breaks, the command lines that it answers so, the answer, what it offers besides, and what it is.
_ROWS: list[tuple[str, bytes, bytes, bytes, type[TinyServer]]] = [
    ("ehlo ehlo-clears", rb"EHLO.*", b"251 mx.example", b"", TinyServer),
    ("ehlo-domain", rb"HELO.*", b"250 <hello>", b"", TinyServer),
    ("helo", rb"HELO.*", b"500 5.5.1 no", b"", TinyServer),
    ("no-argument", rb"RSET now", OK, b"", TinyServer),
    ("no-argument", rb"DATA now", b"354 go on", b"", TinyServer),
    ("rset", rb"RSET", b"500 5.5.1 no", b"", TinyServer),
    ("help", rb"HELP", b"500 5.5.1 no", b"", TinyServer),
    ("vrfy", rb"VRFY.*", b"500 5.5.1 no", b"", TinyServer),
    ("mail-syntax", rb"MAIL", OK, b"", TinyServer),
    ("mail-syntax", rb"MAIL TO.*", OK, b"", TinyServer),
    ("mail-syntax", rb"MAIL FROM:<[^>]*", OK, b"", TinyServer),
    ("mail-syntax", rb"MAIL FROM:<ada@>", OK, b"", TinyServer),
    ("quoted-local-part", rb"MAIL FROM:<\".*", b"501 5.1.3 no", b"", TinyServer),
    ("address-literal", rb"MAIL FROM:<ada@\[1.*", b"501 5.1.3 no", b"", TinyServer),
    ("address-literal", rb"MAIL FROM:<ada@\[I.*", b"501 5.1.3 no", b"", TinyServer),
    ("local-part-length", rb"MAIL FROM:<a{60}.*", b"501 5.1.3 no", b"", TinyServer),
    ("path-length", rb"MAIL FROM:<a@a{60}.*", b"501 5.1.3 no", b"", TinyServer),
    ("source-route", rb"RCPT TO:<@.*", b"501 5.1.3 no", b"", TinyServer),
    ("rcpt-syntax", rb"RCPT TO:<>", OK, b"", TinyServer),
    ("rcpt-syntax", rb"RCPT FROM.*", OK, b"", TinyServer),
    ("rcpt-parameter", rb"RCPT .*XNOSUCH.*", OK, b"", TinyServer),
    ("rcpt-refused", rb"RCPT TO:<eve.*", OK, b"", TinyServer),
    ("postmaster", rb"RCPT TO:<Postmaster>", b"501 5.1.3 no", b"", TinyServer),
    ("size-syntax", rb"MAIL .*SIZE=many", OK, b"", TinyServer),
    ("8bitmime", rb"MAIL .*BODY=8BITMIME", b"555 5.5.4 no", b"", TinyServer),
    ("8bitmime", rb"MAIL .*BODY=7BIT", b"555 5.5.4 no", b"", TinyServer),
    ("body-value", rb"MAIL .*BODY=9BIT", OK, b"", TinyServer),
    ("bdat-syntax", rb"BDAT", OK, b"", TinyServer),
    ("binarymime", rb"MAIL .*BODY=BINARYMIME", b"555 5.5.4 no", b"", TinyServer),
    ("smtputf8", rb"MAIL FROM:<j.* SMTPUTF8", b"501 5.1.3 no", b"", TinyServer),
    ("smtputf8-missing", rb"MAIL FROM:<j[^ ]*", OK, b"", TinyServer),
    ("dsn-mail dsn-rcpt", rb"-", b"", b"DSN", TinyServer),
    ("dsn-ret-value dsn-notify-value", rb".*(RET|NOTIFY).*", OK, b"DSN", TinyServer),
    ("starttls", rb"STARTTLS", b"250 2.0.0 ok", b"", TinyServer),
    ("starttls-argument", rb"STARTTLS now", b"220 2.0.0 go ahead", b"", TinyServer),
    ("auth-mechanism", rb"AUTH XNOSUCH", b"535 5.7.8 no", b"", TinyServer),
    ("auth", rb"AUTH PLAIN .*", b"535 5.7.8 no", b"", TinyServer),
    ("etrn-syntax ehlo-offers", rb"ETRN", b"250 2.0.0 ok", b"ETRN", TinyServer),
    ("etrn-syntax", rb"ETRN.*", b"250 2.0.0 ok", b"ETRN", TinyServer),
    ("lmtp-lhlo lmtp-extensions ehlo-clears", rb"LHLO.*", b"251 mx.example", b"", TinyLMTP),
]


def _server(
    rules: str, lines: bytes, answer: bytes, offered: bytes, base: type[TinyServer]
) -> tuple[type[TinyServer], set[str]]:
    pattern = re.compile(lines)

    def run(self: TinyServer, verb: bytes, argument: bytes) -> None:
        if pattern.fullmatch(b" ".join(filter(None, (verb, argument)))):
            self.write(answer)
        else:
            base.run(self, verb, argument)

    name = f"answers {lines.decode()} with {answer[:3].decode()}"
    offer = (*base.offer, offered) if offered else base.offer
    return type(name, (base,), {"run": run, "offer": offer}), set(rules.split())


ANSWERS = dict(_server(*row) for row in _ROWS)
"""These servers, and the rules that they break."""
