"""Where smtplib and aiosmtpd do otherwise than this library, and why. docs/fuzzing.md prints the table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from cases import (
    Case,
    envelope,
    has_blank,
    is_extension,
    is_foreign,
    is_header_syntax,
    is_line,
    is_name,
    is_verbatim,
    mailbox,
    mended,
    regular,
    reply,
    same_address,
    same_mailbox,
    same_texts,
    sent_as_it_is,
    texts,
    without_blanks,
    without_doubles,
    without_equals,
)
from mailboxes import (
    has_control,
    has_line_end,
    is_domain,
    is_literal,
    is_local_part,
    is_path,
    is_route,
    is_utf8,
)


class Explained(NamedTuple):
    """A difference."""

    kind: str
    why: str
    """Why ours is otherwise, with the section of the RFC."""
    example: bytes
    holds: Callable[[Case], bool]


def explanations(case: Case) -> list[str]:
    """The names of the differences that this case shows."""
    return [
        name
        for name, explained in EXPLAINED.items()
        if case.kind in explained.kind.split(", ") and explained.holds(case)
    ]


REPLY = "reply, hello"  # the latter to EHLO
COMMAND = "command, SMTPUTF8 command"  # the latter in a transaction with SMTPUTF8

EXPLAINED = {
    # smtplib
    "cut off": Explained(
        REPLY + ", raw reply",
        "A reply ends with a line end (RFC 5321 4.2): what a broken connection leaves of one is none.",
        b"\x00250 o",
        reply(lambda lines: not lines[-1].endswith(b"\n")),
    ),
    "code": Explained(
        REPLY + ", raw reply",
        "A code is three digits (RFC 5321 4.2); `int()` takes `+25` and `2_5`, too.",
        b"\x00+25 ok\r\n",
        reply(lambda lines: any(re.match(rb"[0-9]{3}", line) is None for line in lines)),
    ),
    "code of no class": Explained(
        REPLY,
        "Its first digit is 2, 3, 4 or 5 (RFC 5321 4.2.1).",
        b"\x00150 ok\r\n",
        reply(lambda lines: any(re.match(rb"[016-9][0-9]{2}", line) for line in lines)),
    ),
    "two codes": Explained(
        REPLY,
        "All lines of a reply have one code (RFC 5321 4.2.1); smtplib believes the last.",
        b"\x00250-ok\r\n550 no\r\n",
        reply(lambda lines: len({line[:3] for line in lines}) > 1),
    ),
    "no blank": Explained(
        REPLY,
        "Behind a code stands a blank, a hyphen or nothing (RFC 5321 4.2).",
        b"\x00250ok\r\n",
        reply(lambda lines: any(re.match(rb"[2-5][0-9]{2}(?!\r?\n)[^ -]", line) for line in lines)),
    ),
    "CR or NUL in a reply": Explained(
        REPLY,
        "Neither is text (RFC 5321 4.2): to others a line, and so the reply, may end there.",
        b"\x00250 a\rb\r\n",
        reply(lambda lines: any(b"\0" in line or b"\r" in line.removesuffix(b"\r\n") for line in lines)),
    ),
    "3yz": Explained(
        REPLY,
        "It says that more input is expected (RFC 5321 4.2.1), and behind this command there is none.",
        b"\x00354 go on\r\n",
        reply(lambda lines: all(map(is_line, lines)) and lines[-1][:1] == b"3"),
    ),
    "blanks": Explained(
        REPLY + ", raw reply",
        "Blanks at the ends of a text belong to it (RFC 5321 4.2); smtplib takes them off.",
        b"\x00250  a \r\n",
        same_texts(lambda case: texts(case)[0] != case.ours[1].split(b"\n")),
    ),
    "NUL in an offer": Explained(
        "hello",
        "Such a line of EHLO is none (RFC 5321 4.1.1.1), and dropped; smtplib keeps it.",
        b"\x02250-mx\r\n250-\0\r\n250 SIZE\r\n",
        same_texts(lambda case: b"\0" in case.theirs[1]),
    ),
    "no extension": Explained(
        "offer",
        "A line is a keyword and words (RFC 5321 4.1.1.1), or says nothing; smtplib takes its beginning.",
        b"\x02250-mx\r\n250 2.1.0 ok\r\n",
        lambda case: case.ours == {} and not is_extension(case.octets),
    ),
    "blanks between words": Explained(
        "offer, offers",
        "More of them than one (RFC 5321 4.1.1.1) make no empty word.",
        b"\x02250-mx\r\n250 X  a  b\r\n",
        mended(without_blanks),
    ),
    "keyword with =": Explained(
        "offer",
        "Old servers say `SIZE=5`; what RFC 5321 4.1.1.1 means by it is `SIZE 5`.",
        b"\x02250-mx\r\n250 SIZE=5\r\n",
        mended(without_equals),
    ),
    "AUTH twice": Explained(
        "offer, offers",
        "A mechanism (RFC 4954 3) is there or not: twice is no more than once.",
        b"\x02250-mx\r\n250-AUTH PLAIN\r\n250 AUTH=PLAIN\r\n",
        mended(without_doubles),
    ),
    "empty message": Explained(
        "body, text",
        "A CRLF more would be a line of the message (RFC 5321 4.1.1.4).",
        b"\x03",
        lambda case: (case.octets, case.ours, case.theirs) == (b"", b".\r\n", b"\r\n.\r\n"),
    ),
    "bare CR or LF sent": Explained(
        "body",
        "Neither may be sent (RFC 5321 2.3.8); smtplib mends texts, and not octets.",
        b"\x03a\n.\rb",
        sent_as_it_is,
    ),
    "no path": Explained(
        "path",
        "It has to be one (RFC 5321 4.1.2); smtplib looks for an address in it, or sends it as it is.",
        b"\x04a@x.example (Ada)",
        lambda case: case.ours is None and not is_path(case.octets),
    ),
    "source route": Explained(
        "path",
        "It is part of a path (RFC 5321 4.1.2): who gives one wants it sent. smtplib drops it.",
        b"\x04@x.example:a@y.example",
        lambda case: same_mailbox(case) and case.octets.startswith(b"@"),
    ),
    "backslashes": Explained(
        "path",
        "An address is sent as it was written: its local part is not ours to read (RFC 5321 2.3.11).",
        b'\x04"\\a"@x.example',
        lambda case: same_mailbox(case) and b"\\" in case.octets,
    ),
    "blanks in a path": Explained(
        "path",
        "Beyond ASCII they are characters like others (RFC 6531 3.3); smtplib drops a local part of them.",
        b"\x04\xc2\xa0@x.example",
        lambda case: same_mailbox(case) and has_blank(case.octets),
    ),
    # aiosmtpd
    "bare LF": Explained(
        COMMAND,
        "Only CRLF ends a line (RFC 5321 2.3.8); what is behind a bare LF, a relay took for the same line.",
        b"\x00NOOP\nNOOP\r\n",
        lambda case: case.ours in ("refuses", "ends") and b"\n" in case.octets[:-2],
    ),
    "control characters": Explained(
        COMMAND,
        "They stand in no command (RFC 5321 4.1.2), a TAB or CR no more than others.",
        b"\x00NOOP a\tb\r\n",
        lambda case: case.only_theirs and has_control(case.octets[:-2].replace(b"\n", b"")),
    ),
    "line ends of Unicode": Explained(
        COMMAND,
        "No C1 controls (RFC 5198 2), and no U+2028 or U+2029: somebody will end the line there.",
        b"\x00NOOP a\xc2\x85b\r\n",
        lambda case: case.only_theirs and has_line_end(case.octets),
    ),
    "not UTF-8": Explained(
        COMMAND,
        "Octets beyond ASCII are UTF-8 (RFC 6531 3.3).",
        b"\x00NOOP \xff\r\n",
        lambda case: case.only_theirs and not is_utf8(case.octets),
    ),
    "client's name": Explained(
        COMMAND,
        "A domain or an address literal (RFC 5321 4.1.1.1), in ASCII (RFC 6531 3.7.1): it goes into headers.",
        b"\x00EHLO a b\r\n",
        lambda case: (
            case.only_theirs
            and case.theirs[0] in ("EHLO", "HELO")
            and is_utf8(case.octets)
            and not is_name(case.octets[5:-2].strip(b" "))
        ),
    ),
    "no brackets": Explained(
        COMMAND,
        "A path stands in angle brackets (RFC 5321 4.1.2).",
        b"\x00MAIL FROM:a@x.example\r\n",
        envelope(lambda it: not it.rest.startswith(b"<") or b">" not in it.rest),
    ),
    "no blank before a parameter": Explained(
        COMMAND,
        "There is one (RFC 5321 4.1.1.2, 4.1.1.3).",
        b"\x00MAIL FROM:<a@x.example>SIZE=5\r\n",
        envelope(lambda it: it.behind[:1] not in b" " and not has_blank(it.behind[:2])),
    ),
    "empty forward-path": Explained(
        COMMAND,
        "Only a reverse-path may be empty (RFC 5321 4.1.1.3).",
        b"\x00MAIL FROM:<>\r\nRCPT TO:<>\r\n",
        envelope(lambda it: not it.is_mail and it.path == b""),
    ),
    "no domain": Explained(
        COMMAND,
        "Only a forward-path has none, that to the postmaster (RFC 5321 4.1.1.3).",
        b"\x00MAIL FROM:<root>\r\n",
        envelope(lambda it: it.path != b"" and it.parts[2] is None and (it.is_mail or not is_path(it.path))),
    ),
    "dots": Explained(
        COMMAND,
        "They stand between atoms (RFC 5321 4.1.2); elsewhere they are obsolete in headers (RFC 5322 4.4).",
        b"\x00MAIL FROM:<a..b@x.example>\r\n",
        mailbox(
            lambda local, domain: is_local_part(b"a" + local.replace(b".", b"")) and not is_local_part(local)
        ),
    ),
    "domain": Explained(
        COMMAND,
        "Labels are letters, digits and inner hyphens, not too long (RFC 5321 4.1.2, 4.5.3.1.2).",
        b"\x00MAIL FROM:<a@x_y.example>\r\n",
        mailbox(lambda local, domain: re.search(rb'[ ()"\\\[]', domain) is None and not is_domain(domain)),
    ),
    "address literal": Explained(
        COMMAND,
        "It is an address (RFC 5321 4.1.3).",
        b"\x00MAIL FROM:<a@[192.0.2.256]>\r\n",
        mailbox(lambda local, domain: domain.startswith(b"[") and not is_literal(domain)),
    ),
    "comments, blanks, quotes": Explained(
        COMMAND,
        "A path is no field of a header (RFC 5321 4.1.2): others would see another address in it.",
        b"\x00MAIL FROM:<a@x.example (Ada)>\r\n",
        envelope(lambda it: is_header_syntax(it.path) or it.behind.strip(b" ").startswith(b"(")),
    ),
    "route": Explained(
        COMMAND,
        "A source route is of domains, and commas alone (RFC 5321 4.1.2).",
        b"\x00MAIL FROM:<@[192.0.2.1]:a@x.example>\r\n",
        envelope(lambda it: it.path.startswith(b"@") and not is_route(it.parts[0])),
    ),
    "without SMTPUTF8": Explained(
        "command",
        "An address beyond ASCII needs SMTPUTF8 (RFC 6531 3.5).",
        b"\x00MAIL FROM:<\xc3\xbc@x.example>\r\n",
        envelope(lambda it: is_path(it.path) and not it.path.isascii() and ("SMTPUTF8", "") not in it.words),
    ),
    "parameter twice": Explained(
        COMMAND,
        "One keyword, one value (RFC 5321 4.1.2): of two, two servers may take two.",
        b"\x00MAIL FROM:<a@x.example> SIZE=5 SIZE=6\r\n",
        envelope(lambda it: len(dict(it.words)) < len(it.words)),
    ),
    "SIZE": Explained(
        COMMAND,
        "Up to 20 digits of ASCII (RFC 1870 3).",
        b"\x00MAIL FROM:<a@x.example> SIZE=\xd9\xa1\r\n",
        envelope(lambda it: any(n == "SIZE" and not re.fullmatch("[0-9]{1,20}", v) for n, v in it.words)),
    ),
    "blanks of Unicode": Explained(
        COMMAND,
        "What parts words is a space (RFC 5321 4.1.2).",
        b"\x00MAIL FROM:<a@x.example> SIZE=5\xc2\xa0BODY=7BIT\r\n",
        envelope(lambda it: has_blank(it.rest.replace(it.path, b""))),
    ),
    "quotes and backslashes": Explained(
        COMMAND,
        "An address is kept as it was written: its local part is not ours to read (RFC 5321 2.3.11).",
        b'\x00MAIL FROM:<"a"@x.example>\r\n',
        lambda case: same_address(case) and re.search(rb'["\\]', case.octets) is not None,
    ),
    "encoded words": Explained(
        COMMAND,
        "None stands in an address (RFC 2047 5): what looks like one is text. aiosmtpd decodes it.",
        b"\x00MAIL FROM:<=?utf-8?q?a?=@x.example>\r\n",
        lambda case: is_verbatim(case) and re.search(rb"=\?[^?]+\?[bqBQ]\?", case.octets) is not None,
    ),
    "blanks in an address": Explained(
        COMMAND,
        "Beyond ASCII they are characters like others (RFC 6531 3.3); aiosmtpd drops some.",
        b"\x00MAIL FROM:<a@x\xe3\x80\x80y.example> SMTPUTF8\r\n",
        lambda case: same_address(case) and has_blank(case.ours[1].encode()),
    ),
    "BDAT": Explained(
        COMMAND,
        "Its chunk comes whatever is said to it (RFC 3030 2): it is read away, or nothing more is.",
        b"\x00BDAT 5\r\n",
        lambda case: case.octets[:4].upper() == b"BDAT" and case.theirs == "refuses",
    ),
    "another protocol": Explained(
        COMMAND,
        "The session ends, for what follows may be a stranger's: no normal circumstances (RFC 5321 3.8).",
        b"\x00GET / HTTP/1.1\r\n",
        lambda case: case.ours == "ends" and is_foreign(case.octets),
    ),
    "bare CR or LF in a message": Explained(
        COMMAND,
        "Neither may be sent (RFC 5321 2.3.8): the message is refused.",
        b"\x00MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nDATA\r\na\nb\r\n.\r\n",
        lambda case: (
            case.ours == "refuses"
            and case.theirs[0] == "message"
            and case.theirs[1] != regular(case.theirs[1])
        ),
    ),
    "made regular": Explained(
        COMMAND,
        "Or, if that was wished, each becomes CRLF (RFC 5321 2.3.8).",
        b"\x01MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nDATA\r\na\nb\r\n.\r\n",
        lambda case: case.both and case.ours[0] == "message" and case.ours[1] == regular(case.theirs[1]),
    ),
}
