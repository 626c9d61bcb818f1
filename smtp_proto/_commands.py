"""What a client says. The object that a client sends is the event that the server receives.

Each constructor accepts only what can be written as exactly one command, and raises
`LocalProtocolError` for the rest: an object that exists cannot inject anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from . import _grammar
from ._addresses import Path
from ._errors import LocalProtocolError
from ._message import Message, field
from ._parameter_table import ParameterValue
from ._parameters import NO_PARAMETERS, Parameters, canonical_parameters

if TYPE_CHECKING:
    from ._replies import Reply


KNOWN_VERBS: set[str] = set()
"""The verbs of all commands that have a class."""


class Command(Message):
    """Base of everything that a client says, the pieces of a message's body included."""

    __slots__ = ()

    verb: ClassVar[str] = ""
    """The command's name on the wire."""
    keyword: ClassVar[str] = ""
    """What a server has to offer for it (RFC 5321 2.2.1); empty if that is nothing."""
    ends_group: ClassVar[bool] = False
    """Whether nothing may be said behind it before it is answered (RFC 2920 3.1)."""

    def __init_subclass__(cls) -> None:
        if cls.verb:
            KNOWN_VERBS.add(cls.verb)


class _Hello(Command):
    __slots__ = ("_domain",)
    _fields = ("domain",)
    ends_group = True

    domain: str = field("_domain")
    """The client's name: a domain, or an address literal in brackets."""

    def __init__(self, *, domain: str) -> None:
        octets = _grammar.encode(domain, "the domain")
        literal = octets[:1] == b"["
        if not _grammar.EHLO_NAME.fullmatch(octets) or (literal and not _grammar.is_address_literal(octets)):
            raise LocalProtocolError(f"neither a domain nor an address literal: {domain!r}")
        self._domain = domain


class Ehlo(_Hello):
    """EHLO: opens an ESMTP session, or starts it afresh (RFC 5321 4.1.1.1)."""

    __slots__ = ()
    verb = "EHLO"


class Helo(_Hello):
    """HELO: opens a session without extensions (RFC 5321 4.1.1.1)."""

    __slots__ = ()
    verb = "HELO"


class Lhlo(_Hello):
    """LHLO: what EHLO is to SMTP, for LMTP (RFC 2033 4.1)."""

    __slots__ = ()
    verb = "LHLO"


class StartTLS(Command):
    """STARTTLS: asks to go on under TLS (RFC 3207)."""

    __slots__ = ()
    verb = "STARTTLS"
    keyword = "STARTTLS"
    ends_group = True


class Auth(Command):
    """AUTH: opens a SASL exchange (RFC 4954 4).

    `mechanism`: its name; it becomes upper case. `initial_response`: the octets before base64, `b""` for an
    empty response, None for none.
    """

    __slots__ = ("_initial_response", "_mechanism")
    _fields = ("mechanism", "initial_response")
    _secret = ("initial_response",)
    verb = "AUTH"
    keyword = "AUTH"
    ends_group = True

    mechanism: str = field("_mechanism")
    initial_response: bytes | None = field("_initial_response")

    def __init__(self, *, mechanism: str, initial_response: bytes | None = None) -> None:
        octets = _grammar.encode(mechanism, "the mechanism")
        if not _grammar.MECHANISM.fullmatch(octets):
            raise LocalProtocolError(f"not a SASL mechanism name (RFC 4422 3.1): {mechanism!r}")
        self._mechanism = mechanism.upper()
        self._initial_response = initial_response


class AuthResponse(Command):
    """The client's answer to an `AuthChallenge`, or `data=None` to cancel the exchange."""

    __slots__ = ("_data",)
    _fields = _secret = ("data",)
    verb = "AUTH"
    ends_group = True

    data: bytes | None = field("_data")
    """The octets before base64; None cancels (`*`)."""

    def __init__(self, *, data: bytes | None) -> None:
        self._data = data


class Mail(Command):
    """MAIL: opens a mail transaction (RFC 5321 4.1.1.2).

    `reverse_path`: a `Path` or an addr-spec, `""` for the null path. `parameters`: names to values, such as
    `{"SIZE": 1000, "BODY": "8BITMIME", "SMTPUTF8": True}`; the page on extensions tells their types.
    """

    __slots__ = ("_parameters", "_reverse_path")
    _fields = ("reverse_path", "parameters")
    verb = "MAIL"

    reverse_path: Path = field("_reverse_path")
    parameters: Parameters = field("_parameters")

    def __init__(
        self, *, reverse_path: str, parameters: Mapping[str, ParameterValue] = NO_PARAMETERS
    ) -> None:
        path = Path(reverse_path)
        if path._at < 0 and path:
            raise LocalProtocolError(f"a reverse-path needs a domain: {reverse_path!r}")
        self._reverse_path = path
        self._parameters = canonical_parameters("MAIL", parameters) if parameters else NO_PARAMETERS


def received_mail(path: Path, parameters: Parameters) -> Mail:
    """A MAIL from the wire, judged by its reader."""
    mail = Mail.__new__(Mail)
    mail._reverse_path = path
    mail._parameters = parameters
    return mail


class Rcpt(Command):
    """RCPT: names one recipient (RFC 5321 4.1.1.3).

    `forward_path`: a `Path` or an addr-spec, or `postmaster` alone. `parameters`: as with `Mail`.
    """

    __slots__ = ("_forward_path", "_parameters")
    _fields = ("forward_path", "parameters")
    verb = "RCPT"

    forward_path: Path = field("_forward_path")
    parameters: Parameters = field("_parameters")

    def __init__(
        self, *, forward_path: str, parameters: Mapping[str, ParameterValue] = NO_PARAMETERS
    ) -> None:
        path = Path(forward_path)
        if not path:
            raise LocalProtocolError("a forward-path is never null (RFC 5321 4.1.1.3)")
        self._forward_path = path
        self._parameters = canonical_parameters("RCPT", parameters) if parameters else NO_PARAMETERS


def received_rcpt(path: Path, parameters: Parameters) -> Rcpt:
    """A RCPT from the wire, judged by its reader."""
    rcpt = _new_rcpt(Rcpt)
    rcpt._forward_path = path
    rcpt._parameters = parameters
    return rcpt


def rcpt_to(address: str) -> Rcpt:
    """`Rcpt(forward_path=address)`."""
    path = address if type(address) is Path else Path(address)
    return received_rcpt(path, NO_PARAMETERS) if path else Rcpt(forward_path=path)  # which raises


_new_rcpt = Rcpt.__new__


class Data(Command):
    """DATA: asks to send the message (RFC 5321 4.1.1.4)."""

    __slots__ = ()
    verb = "DATA"
    ends_group = True


class Bdat(Command):
    """BDAT: a chunk of `size` octets follows at once; `last` says that it ends the message (RFC 3030 2).

    Sent as `Bdat`, then `MessageData` of `size` octets in all, and `EndOfMessage` if `last`. At a
    server, `refusal` is the reply that it must give when the octets are in, as with `EndOfMessage`.
    """

    __slots__ = ("_last", "_refusal", "_size")
    _fields = ("size", "last")
    verb = "BDAT"
    keyword = "CHUNKING"

    size: int = field("_size")
    last: bool = field("_last")
    refusal: Reply | None = field("_refusal")

    def __init__(self, *, size: int, last: bool = False, refusal: Reply | None = None) -> None:
        if type(size) is not int or not 0 <= size < _grammar.TOO_LARGE:
            raise LocalProtocolError("a chunk has 0 to 10**20 - 1 octets")
        self._size = size
        self._last = last
        self._refusal = refusal


class MessageData(Command):
    """A piece of the message's body: octets as they were written, before dots are stuffed.

    How a body is cut into pieces means nothing. After DATA a client may give it any line ends: see
    `ClientConnection`. At a server its lines end in CRLF, unless `LineEnds.PRESERVE` was asked for.
    """

    __slots__ = ("_data",)
    _fields = ("data",)

    data: bytes = field("_data")
    """The octets; `repr` shows only how many there are."""

    def __init__(self, *, data: bytes) -> None:
        if type(data) is not bytes:
            raise LocalProtocolError(f"message data must be bytes, not {type(data).__name__}")
        self._data = data

    def __repr__(self) -> str:
        return f"MessageData(data=<{len(self.data)} octets>)"


class EndOfMessage(Command):
    """The body is complete: the lone dot after DATA, or the end of the last chunk.

    At a server, `refusal` is the reply that it must give (or another negative one), None if the
    message may be accepted; `long_lines` and `nul` tell of content that RFC 5321 forbids and that is
    accepted all the same. None of these takes part in equality.
    """

    __slots__ = ("_long_lines", "_nul", "_refusal")

    refusal: Reply | None = field("_refusal")
    long_lines: bool = field("_long_lines")
    nul: bool = field("_nul")

    def __init__(self, *, refusal: Reply | None = None, long_lines: bool = False, nul: bool = False) -> None:
        self._refusal = refusal
        self._long_lines = long_lines
        self._nul = nul


class Rset(Command):
    """RSET: gives up the mail transaction (RFC 5321 4.1.1.5)."""

    __slots__ = ()
    verb = "RSET"


class Quit(Command):
    """QUIT: ends the session (RFC 5321 4.1.1.10)."""

    __slots__ = ()
    verb = "QUIT"
    ends_group = True


def _check_argument(argument: str, verb: str) -> None:
    if not _grammar.ARGUMENT.fullmatch(_grammar.encode(argument, "the argument")):
        raise LocalProtocolError(f"not an argument for {verb}: {argument!r}")


class _Argument(Command):
    __slots__ = ("_argument", "_smtputf8")
    _fields = ("argument", "smtputf8")
    ends_group = True

    argument: str = field("_argument")
    """Whom or what it asks for: any text without control characters, as the server understands it."""
    smtputf8: bool = field("_smtputf8")
    """Whether the argument may be beyond ASCII, and the reply too (RFC 6531 3.7.4.2)."""

    def __init__(self, *, argument: str, smtputf8: bool = False) -> None:
        _check_argument(argument, self.verb)
        if argument.upper().endswith(" SMTPUTF8"):
            raise LocalProtocolError(f"SMTPUTF8 behind the argument is a parameter: {argument!r}")
        self._argument = argument
        self._smtputf8 = smtputf8


class Vrfy(_Argument):
    """VRFY: asks whether a user or mailbox exists (RFC 5321 3.5, 4.1.1.6)."""

    __slots__ = ()
    verb = "VRFY"


class Expn(_Argument):
    """EXPN: asks for the members of a list (RFC 5321 3.5, 4.1.1.7)."""

    __slots__ = ()
    verb = "EXPN"


class _OptionalArgument(Command):
    __slots__ = ("_argument",)
    _fields = ("argument",)
    ends_group = True

    argument: str | None = field("_argument")
    """What stands behind the verb, a text without control characters; None if nothing does."""

    def __init__(self, *, argument: str | None = None) -> None:
        if argument is not None:
            _check_argument(argument, self.verb)
        self._argument = argument


class Help(_OptionalArgument):
    """HELP, with or without a topic (RFC 5321 4.1.1.8)."""

    __slots__ = ()
    verb = "HELP"


class Noop(_OptionalArgument):
    """NOOP: asks for nothing but a reply (RFC 5321 4.1.1.9)."""

    __slots__ = ()
    verb = "NOOP"


class UnknownCommand(Command):
    """A command that this library does not know: a private extension, or a slip.

    A client may send it too; it is then followed by a reply and changes no state. `name`: the verb; it
    becomes upper case. `argument`: what stands behind it, or None. Raises `LocalProtocolError` for a verb
    that this library knows, whose effect would be overlooked.
    """

    __slots__ = ("_argument", "_name")
    _fields = ("name", "argument")
    ends_group = True  # of a stranger's command one cannot know

    name: str = field("_name")
    argument: str | None = field("_argument")

    def __init__(self, *, name: str, argument: str | None = None) -> None:
        octets = _grammar.encode(name, "the verb")
        if not _grammar.VERB.fullmatch(octets):
            raise LocalProtocolError(f"not a verb: {name!r}")
        if name.upper() in KNOWN_VERBS:
            raise LocalProtocolError(f"{name.upper()} has a class of its own")
        if argument is not None:
            _check_argument(argument, name)
        self._name = name.upper()
        self._argument = argument


class MalformedCommand(Command):
    """A command that a server cannot take: bad syntax, bad sequence, over a limit. Received only.

    `line` is the line without its CRLF, cut at the limit, credentials left out; `reply` is the answer
    to send, or send another negative one. The connection goes on.
    """

    __slots__ = ("_line", "_reply")
    _fields = ("line", "reply")

    line: bytes = field("_line")
    reply: Reply = field("_reply")

    def __init__(self, *, line: bytes, reply: Reply) -> None:
        self._line = line
        self._reply = reply
