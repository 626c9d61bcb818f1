"""Hypothesis strategies for all that a client or a server can say.

What is drawn is a valid message, from all over what its class accepts: quoted local parts, address
literals, source routes, addresses beyond ASCII, parameters that nobody knows, octets that are no text.
Whether a session takes it depends on what the server offers: `offered_for` tells what a message needs.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from smtp_proto import (
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Data,
    DeliverBy,
    Ehlo,
    EndOfMessage,
    Etrn,
    Expn,
    Features,
    Greeting,
    Hello,
    Helo,
    Help,
    Lhlo,
    Mail,
    MessageData,
    Noop,
    OriginalRecipient,
    Path,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTLS,
    UnknownCommand,
    ValidSince,
    Vrfy,
    XClient,
    XForward,
)
from smtp_proto._commands import KNOWN_VERBS
from smtp_proto._parameter_table import PARAMETERS
from smtp_proto._parameters import keyword_for

_T = TypeVar("_T")

_ALNUM = string.ascii_letters + string.digits
_ATEXT = _ALNUM + "!#$%&'*+/=?^_`{|}~-"
_PRINTABLE = "".join(map(chr, range(32, 127)))
_VISIBLE = _PRINTABLE[1:]


def several(values: Sequence[_T], most: int | None = None, *, least: int = 0) -> SearchStrategy[list[_T]]:
    """A list of some of these values, drawn as one text: several times as quick as one by one."""
    characters = st.characters(min_codepoint=0, max_codepoint=len(values) - 1)
    return st.text(characters, min_size=least, max_size=most).map(
        lambda drawn: [values[ord(character)] for character in drawn]
    )


def _some(alphabet: str, most: int, *, utf8: bool = False, least: int = 1) -> SearchStrategy[str]:
    # Of text from a plain set of characters all is drawn at once; from `|` or `sampled_from`, one by one.
    drawn = st.text(alphabet, min_size=least, max_size=most)
    if not utf8:
        return drawn
    # What may stand in an address beyond ASCII: no C1 control, no line end in disguise.
    wider = st.characters(
        min_codepoint=0xA0,
        codec="utf-8",
        exclude_characters="\u2028\u2029",
        include_characters=alphabet,
    )
    return drawn | st.text(wider, min_size=least, max_size=most)


def _joined(parts: SearchStrategy[str], by: str, most: int = 3) -> SearchStrategy[str]:
    return st.lists(parts, min_size=1, max_size=most).map(by.join)


# Addresses


@cache
def domains(*, utf8: bool = False) -> SearchStrategy[str]:
    """Domain (RFC 5321 4.1.2), with `utf8` as RFC 6531 widens it."""
    return _joined(_joined(_some(_ALNUM, 5, utf8=utf8), "-", 2), ".")


@cache
def address_literals() -> SearchStrategy[str]:
    """An address literal with its brackets: IPv4, IPv6 or general (RFC 5321 4.1.3)."""
    tags = _some(_ALNUM, 8).filter(lambda tag: tag.upper() != "IPV6")
    content = _some("".join(sorted(set(_VISIBLE) - set("[\\]"))), 12)
    return st.one_of(
        st.ip_addresses(v=4).map("[{}]".format),
        st.ip_addresses(v=6).map("[IPv6:{}]".format),
        st.builds("[{}:{}]".format, tags, content),
    )


@cache
def local_parts(*, utf8: bool = False) -> SearchStrategy[str]:
    """A local part as it is spelled: a dot-string, or a quoted string."""
    plain = "".join(sorted(set(_PRINTABLE) - set('"\\')))
    pairs = st.sampled_from(_PRINTABLE).map("\\{}".format)
    quoted = st.lists(_some(plain, 4, utf8=utf8) | pairs, max_size=4)
    dotted = _joined(_some(_ATEXT, 6, utf8=utf8), ".")
    return dotted | quoted.map(lambda parts: '"{}"'.format("".join(parts)))


@cache
def mailboxes(*, utf8: bool = False) -> SearchStrategy[str]:
    """Local-part "@" ( Domain / address-literal )."""
    return st.builds("{}@{}".format, local_parts(utf8=utf8), domains(utf8=utf8) | address_literals())


@cache
def paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """A mailbox, now and then behind a source route."""
    route = _joined(domains(utf8=utf8).map("@{}".format), ",", 2).map("{}:".format)
    return st.builds("{}{}".format, st.just("") | route, mailboxes(utf8=utf8)).map(Path)


@cache
def reverse_paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """A path, or the null reverse-path."""
    return st.just(Path("")) | paths(utf8=utf8)


@cache
def forward_paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """A path, or `postmaster` in any spelling."""
    return st.sampled_from(["postmaster", "Postmaster", "POSTMASTER"]).map(Path) | paths(utf8=utf8)


# Parameters of MAIL and RCPT

_KNOWN_PARAMETERS = frozenset(name for _, name in PARAMETERS)


@cache
def parameter_names() -> SearchStrategy[str]:
    """A parameter's name of which the library knows nothing."""
    names = st.builds(str.__add__, _some(_ALNUM, 1), _some(_ALNUM + "-", 8, least=0))
    return names.filter(lambda name: name.upper() not in _KNOWN_PARAMETERS)


def _others() -> SearchStrategy[dict[str, Any]]:
    values = st.just(True) | _some(_VISIBLE.replace("=", ""), 8, utf8=True)
    return st.dictionaries(parameter_names().map(str.upper), values, max_size=2)


def _optional(**known: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    drawn = st.fixed_dictionaries({}, optional=known)
    return st.builds(lambda some, others: {**others, **some}, drawn, _others())


def _solicitations() -> SearchStrategy[str]:
    return st.builds(str.__add__, _some(string.ascii_letters, 1), _some(_ALNUM + ".-_:", 8, least=0))


@cache
def mail_parameters() -> SearchStrategy[dict[str, Any]]:
    """Parameters for MAIL: any of the known ones, and some that nobody knows."""
    return _optional(
        SIZE=st.integers(0, 10**20 - 1),
        BODY=st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"]),
        SMTPUTF8=st.just(True),
        REQUIRETLS=st.just(True),
        AUTH=st.just("") | mailboxes(),
        RET=st.sampled_from(["FULL", "HDRS"]),
        ENVID=_some(_PRINTABLE, 12),
        BY=st.builds(DeliverBy, st.integers(-999999999, 999999999), st.just("N"), st.booleans())
        | st.builds(DeliverBy, st.integers(1, 999999999), st.just("R"), st.booleans()),
        SOLICIT=st.lists(_solicitations(), min_size=1, max_size=3).map(tuple),
        PRDR=st.just(True),
        HOLDUNTIL=date_times(fractions=True),
        **{"MT-PRIORITY": st.integers(-9, 9)},
    )


@cache
def rcpt_parameters() -> SearchStrategy[dict[str, Any]]:
    """Parameters for RCPT: any of the known ones, and some that nobody knows."""
    notify = st.lists(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"]), min_size=1, unique=True)
    return _optional(
        NOTIFY=st.just(("NEVER",)) | notify.map(tuple),
        RRVS=st.builds(ValidSince, date_times(), st.sampled_from([None, "C", "R"])),
        ORCPT=st.builds(OriginalRecipient, st.sampled_from(["rfc822", "x-400"]), _some(_PRINTABLE, 12))
        | st.builds(OriginalRecipient, st.just("utf-8"), _some(_PRINTABLE, 12, utf8=True)),
    )


@cache
def date_times(*, fractions: bool = False) -> SearchStrategy[str]:
    """A date-time (RFC 3339 5.6) in any spelling."""
    fraction = st.just("") | _some("0123456789", 7).map(".{}".format) if fractions else st.just("")
    clock = st.times().map(lambda time: f"{time:%H:%M:%S}") | st.just("23:59:60")
    hours = st.times().map(lambda time: f"{time:%H:%M}")
    offset = st.sampled_from(["Z", "z"]) | st.builds("{}{}".format, st.sampled_from("+-"), hours)
    return st.builds("{}{}{}{}{}".format, st.dates().map(str), st.sampled_from("Tt"), clock, fraction, offset)


# Commands


def _argument() -> SearchStrategy[str]:
    return _joined(_some(_VISIBLE, 6, utf8=True), " ")


def _mail(path: Path, parameters: dict[str, Any]) -> Mail:
    needs = {} if path.with_route.isascii() else {"SMTPUTF8": True}
    return Mail(reverse_path=path, parameters={**parameters, **needs})


@cache
def mails() -> SearchStrategy[Mail]:
    """MAIL; with SMTPUTF8 where its path needs it."""
    return st.builds(_mail, reverse_paths(utf8=True), mail_parameters())


@cache
def rcpts(*, utf8: bool = True) -> SearchStrategy[Rcpt]:
    """RCPT; one beyond ASCII needs a MAIL with SMTPUTF8 before it."""
    return st.builds(Rcpt, forward_path=forward_paths(utf8=utf8), parameters=rcpt_parameters())


# They begin what other protocols say: a server hangs up.
_FOREIGN = frozenset(
    ("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI")
)  # fmt: skip


@cache
def unknown_commands() -> SearchStrategy[UnknownCommand]:
    """A command that the library does not know."""
    names = st.builds(str.__add__, _some(string.ascii_letters, 1), _some(_ALNUM + "-", 8, least=0))
    return st.builds(
        UnknownCommand,
        name=names.filter(lambda name: name.upper() not in KNOWN_VERBS | _FOREIGN),
        argument=st.none() | _argument(),
    )


@cache
def client_names() -> SearchStrategy[str]:
    """What a client calls itself in EHLO: a domain or an address literal; real ones hold underscores."""
    return domains() | address_literals() | _joined(_some(_ALNUM + "-_", 8), ".")


@cache
def questions(kind: type[Vrfy | Expn]) -> SearchStrategy[Vrfy | Expn]:
    """VRFY or EXPN; with SMTPUTF8 where its argument needs it."""
    arguments = _argument().filter(lambda argument: not argument.upper().endswith(" SMTPUTF8"))
    return st.builds(
        lambda argument, utf8: kind(argument=argument, smtputf8=utf8 or not argument.isascii()),
        arguments,
        st.booleans(),
    )


@cache
def urls() -> SearchStrategy[str]:
    """An absolute URI, such as BURL takes."""
    rest = _some(_ALNUM + "-._~:/?[]@!$&'()*+,;=%", 12)
    return st.builds("{}:{}".format, st.sampled_from(["imap", "IMAPS", "x-a+1.b"]), rest)


@cache
def etrn_nodes() -> SearchStrategy[str]:
    """For what ETRN asks: a domain, all that is below it, or a queue."""
    return st.builds("{}{}".format, st.sampled_from(["", "@"]), domains() | address_literals()) | _some(
        _VISIBLE, 8
    ).map("#{}".format)


@cache
def attributes() -> SearchStrategy[dict[str, str]]:
    """What XCLIENT and XFORWARD tell of another client."""
    ports = st.integers(0, 65535).map(str)
    addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map("IPV6:{}".format)
    values = dict.fromkeys(("NAME", "HELO", "LOGIN", "PROTO", "IDENT", "REVERSE_NAME"), _some(_PRINTABLE, 12))
    values |= {"PORT": ports, "DESTPORT": ports, "ADDR": addresses, "DESTADDR": addresses}
    values["SOURCE"] = st.sampled_from(["LOCAL", "remote"])
    unknown = st.sampled_from(["[UNAVAILABLE]", "[TEMPUNAVAIL]"])
    drawn = {name: value | unknown for name, value in values.items()}
    return st.fixed_dictionaries({}, optional=drawn).filter(bool)


COMMANDS: Mapping[type[Command], SearchStrategy[Any]] = {
    Ehlo: st.builds(Ehlo, domain=client_names()),
    Helo: st.builds(Helo, domain=client_names()),
    Lhlo: st.builds(Lhlo, domain=client_names()),
    StartTLS: st.just(StartTLS()),
    Auth: st.builds(
        Auth, mechanism=_some(_ALNUM + "-_", 20), initial_response=st.none() | st.binary(max_size=40)
    ),
    AuthResponse: st.builds(AuthResponse, data=st.none() | st.binary(max_size=40)),
    Mail: mails(),
    Rcpt: rcpts(),
    Data: st.just(Data()),
    Bdat: st.builds(Bdat, size=st.integers(0, 10**20 - 1), last=st.booleans()),
    MessageData: st.builds(MessageData, data=st.binary(max_size=60)),
    EndOfMessage: st.just(EndOfMessage()),
    Rset: st.just(Rset()),
    Vrfy: questions(Vrfy),
    Expn: questions(Expn),
    Help: st.builds(Help, argument=st.none() | _argument()),
    Noop: st.builds(Noop, argument=st.none() | _argument()),
    Quit: st.just(Quit()),
    Burl: st.builds(Burl, url=urls(), last=st.booleans()),
    Etrn: st.builds(Etrn, node=etrn_nodes()),
    XClient: st.builds(XClient, attributes=attributes()),
    XForward: st.builds(XForward, attributes=attributes()),
    UnknownCommand: unknown_commands(),
}
"""For each class that a client can say, its strategy."""


def commands(*kinds: type[Command]) -> SearchStrategy[Command]:
    """A command of one of these classes, by default of any."""
    return st.one_of(COMMANDS[kind] for kind in kinds or COMMANDS)


def offered_for(command: Command) -> Features:
    """What a server must offer before `command` may be said."""
    if isinstance(command, Mail | Rcpt):
        verb = command.verb
        return Features({keyword_for(verb, *item) or "": () for item in command.parameters.items()})
    if isinstance(command, XClient | XForward):
        return Features({command.verb: tuple(command.attributes)})
    if isinstance(command, Auth):
        return Features({"AUTH": (command.mechanism,)})
    keywords = {StartTLS: "STARTTLS", Bdat: "CHUNKING", Burl: "BURL", Etrn: "ETRN"}
    return Features({keywords[type(command)]: ()} if type(command) in keywords else {})


# Replies


@cache
def reply_texts() -> SearchStrategy[str]:
    """One line of a reply: anything but CR, LF and NUL; octets that are no UTF-8 as lone surrogates."""
    anything = st.characters(codec="utf-8", exclude_characters="\r\n\0")
    octets = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
    return st.text(anything | octets, max_size=20)


def _reply(code: int, lines: list[str], enhanced: tuple[int, int] | None) -> Reply:
    fits = enhanced is not None and code // 100 != 3
    return Reply(
        code=code, lines=lines, enhanced=f"{code // 100}.{enhanced[0]}.{enhanced[1]}" if fits else None
    )


@cache
def replies(codes: SearchStrategy[int] | None = None) -> SearchStrategy[Reply]:
    """A reply with one of `codes`, by default with any; now and then with an enhanced code."""
    number = st.integers(0, 999)
    return st.builds(
        _reply,
        st.integers(200, 599) if codes is None else codes,
        st.lists(reply_texts(), min_size=1, max_size=3),
        st.none() | st.tuples(number, number),
    )


@cache
def refusals() -> SearchStrategy[Reply]:
    """4yz or 5yz, save 421: that one closes."""
    return replies(st.integers(400, 599).filter(lambda code: code != 421))


@cache
def greetings() -> SearchStrategy[Greeting]:
    """220, built in both ways."""
    return st.builds(Greeting, domain=domains(), text=reply_texts()) | st.builds(
        Greeting, lines=st.lists(reply_texts(), min_size=1, max_size=3)
    )


@cache
def features() -> SearchStrategy[Features]:
    """What a server may offer: keywords with their words, known and unknown."""
    keywords = st.builds(str.__add__, _some(_ALNUM, 1), _some(_ALNUM + "-", 8, least=0))
    words = st.lists(_some(_VISIBLE, 6), max_size=3, unique=True).map(tuple)
    known = st.fixed_dictionaries(
        {},
        optional={
            "PIPELINING": st.just(()),
            "SIZE": st.just(()) | st.integers(0, 10**20 - 1).map(lambda size: (str(size),)),
            "AUTH": words,
            "LIMITS": words,
            "DELIVERBY": words,
            "FUTURERELEASE": words,
            "MT-PRIORITY": words,
            "NO-SOLICITING": words,
            "XCLIENT": words,
            "XFORWARD": words,
            "BURL": words,
            "STARTTLS": st.just(()),
        },
    )
    others = st.dictionaries(keywords.map(str.upper), words, max_size=3)
    return st.builds(lambda some, more: Features({**more, **some}), known, others)


@cache
def hellos() -> SearchStrategy[Hello]:
    """The positive answer to EHLO or LHLO."""
    codes = st.just(250) | st.integers(200, 299)
    return st.builds(Hello, domain=domains(), text=reply_texts(), features=features(), code=codes)


@cache
def challenges() -> SearchStrategy[AuthChallenge]:
    """334 in a SASL exchange."""
    return st.builds(AuthChallenge, data=st.binary(max_size=40))


# Streams


@cache
def bodies() -> SearchStrategy[bytes]:
    """The content of a message: dots and line ends wherever they hurt, and any other octet."""
    hurting = [b"\r\n", b"\r", b"\n", b".", b"a"]
    others = [bytes([octet]) for octet in range(256)]
    return several([*hurting * 40, *others], 40).map(b"".join)


class Cutter(NamedTuple):
    """Cuts octets into pieces of these sizes, over and over; no sizes mean not at all."""

    sizes: tuple[int, ...]

    def __call__(self, octets: bytes) -> Iterator[bytes]:
        """The pieces, none of them empty."""
        sizes = cycle(self.sizes or (len(octets),))
        start = 0
        while start < len(octets):
            end = start + next(sizes)
            yield octets[start:end]
            start = end


@cache
def cutters() -> SearchStrategy[Cutter]:
    """A way in which a stream is cut: whole, octet by octet, or anything between."""
    sizes = several(range(1, 61), 5).map(tuple)
    return st.builds(Cutter, sizes | st.sampled_from([(), (1,), (2,)]))
