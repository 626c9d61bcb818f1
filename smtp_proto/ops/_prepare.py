"""What is decided of a message before anything is said of it: how it is sent, and to whom it can be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from .._addresses import Path, are_plain
from .._client_connection import ClientConnection
from .._commands import Mail, Rcpt, rcpt_to
from .._envelope import Envelope, plain_envelope
from .._errors import LocalProtocolError, NotOffered
from .._features import Features
from .._limits import UNLIMITED
from .._parameter_table import ParameterValue
from .._parameters import NO_PARAMETERS, Parameters, canonical_parameters, check_parameters
from .._replies import Reply
from .._text import PIECE, has_utf8_header
from ._result import Outcome, Status

Transfer: TypeAlias = Literal["auto", "data", "chunking"]
"""How a message is sent: with DATA; in chunks, with BDAT (RFC 3030); or in one chunk if it is small and all
can go in one flight, else with DATA. BODY=BINARYMIME needs chunks.
"""

# A message of text that is not larger is sent before it is known who wants it.
_ONE_FLIGHT = 65536

# So many plain recipients are one group, which stays within its bounds.
_ONE_GROUP = 90


class Prepared:
    """A message that may be sent, for all that is known before anything is said."""

    # What is so with nearly every message.
    is_one_group = False
    """Whether the envelope is known to be one group, and one transaction."""
    is_binary = False
    is_text = False
    """Whether a message of several pieces is what the server gets, as it is."""
    in_chunks = False
    in_one_flight = False
    unsaid: Sequence[tuple[int, Outcome]] = ()
    """The recipients who cannot be said: their places among all, in ascending order, and why."""
    given: Sequence[Path] | None = None
    """All recipients as they were given, if some of them are said in another way."""

    def __init__(self, envelope: Envelope, body: bytes | None, length: int, share: int) -> None:
        self.envelope = envelope
        """The sender, and those recipients who can be said."""
        self.recipients: Sequence[str] = envelope.recipients
        self.body = body
        """Of a message of text that is one piece, what the server gets; else as it was given."""
        self.length = length
        """How many octets were given."""
        self.share = share
        """How many recipients one transaction takes."""

    @property
    def is_split(self) -> bool:
        """Whether it needs more than one transaction."""
        return len(self.recipients) > self.share


class _Addresses(NamedTuple):
    """Sender and recipients, as they can be said to a server."""

    sender: Path
    rcpts: Sequence[Rcpt]
    unsaid: Sequence[tuple[int, Outcome]]
    given: Sequence[Path] | None
    utf8: bool
    """Whether they need SMTPUTF8."""


def prepare(
    conn: ClientConnection,
    sender: str,
    recipients: str | Sequence[str | Rcpt],
    body: bytes | None,
    size: int | None,
    parameters: Mapping[str, ParameterValue],
    transfer: Transfer,
    allow_8bit: bool,
    idna: Callable[[str], str] | None,
) -> Prepared:
    """Judge a message, and decide how it is sent. Raises as `send_message`."""
    recipients = [recipients] if isinstance(recipients, str) else list(recipients)
    message = None
    if body is not None and len(body) <= PIECE and not parameters and not conn.quota.limits:
        message = _prepare_plain(conn, sender, recipients, body)
    if message is None:
        message = _prepare_any(conn, sender, recipients, body, size, parameters, allow_8bit, idna)
    if message.is_binary or (transfer != "data" and (transfer != "auto" or "CHUNKING" in conn.features)):
        _choose_transfer(conn.features, transfer, message)
    return message


def _prepare_plain(
    conn: ClientConnection, sender: str, recipients: list[Any], body: bytes
) -> Prepared | None:
    """A message that needs nothing of a server, as most do; None for another."""
    try:
        if not recipients or not are_plain([sender, *recipients]):
            return None
    except TypeError:  # there is a Rcpt
        return None
    text = conn.text_of(body)
    if not text.isascii():
        return None
    features, count, size = conn.features, len(recipients), None
    if "SIZE" in features:
        size = len(text)
        limit = features._size
        if limit is not None and size > limit:
            raise _too_large(size, limit)
    message = Prepared(plain_envelope(sender, recipients, size), text, len(body), count)
    message.is_one_group = count <= _ONE_GROUP and "PIPELINING" in features
    return message


def _prepare_any(
    conn: ClientConnection,
    sender: str,
    recipients: Sequence[str | Rcpt],
    body: bytes | None,
    size: int | None,
    parameters: Mapping[str, ParameterValue],
    allow_8bit: bool,
    idna: Callable[[str], str] | None,
) -> Prepared:
    rcpts = [rcpt if isinstance(rcpt, Rcpt) else rcpt_to(rcpt) for rcpt in recipients]
    if not rcpts:
        raise LocalProtocolError("a message needs a recipient")
    path = Path(sender)
    given = canonical_parameters("MAIL", parameters) if parameters else NO_PARAMETERS
    is_binary = given.get("BODY") == "BINARYMIME"
    length = 0
    is_text = False
    if body is not None:
        size = length = len(body)
        if not is_binary:
            size = conn.size_of(body) if length > PIECE else len(body := conn.text_of(body))
            is_text = size == length
    addresses = _addresses(conn, path, rcpts, idna)
    said = _parameters(conn.features, addresses, given, body, size, allow_8bit)
    mail = Mail(reverse_path=addresses.sender, parameters=said)
    share = conn.quota.limits.get("RCPTMAX", len(rcpts))
    message = Prepared(Envelope(mail, addresses.rcpts), body, length, share)
    message.unsaid, message.given = addresses.unsaid, addresses.given
    message.is_binary, message.is_text = is_binary, is_text
    if body is None and message.is_split:
        raise LocalProtocolError(f"the body is read once, and the server takes {share} recipients at a time")
    return message


def _choose_transfer(features: Features, transfer: Transfer, message: Prepared) -> None:
    can_chunk = "CHUNKING" in features
    is_small = message.body is not None and message.length <= _ONE_FLIGHT
    in_chunks = in_one_flight = is_small and can_chunk and "PIPELINING" in features
    if transfer != "auto" or message.is_binary:
        if transfer == "data":
            raise LocalProtocolError("a BINARYMIME message needs BDAT (RFC 3030 3)")
        if not can_chunk:
            raise NotOffered("CHUNKING", "the message is to be sent in chunks")
        in_chunks = True
    message.in_chunks, message.in_one_flight = in_chunks, in_one_flight
    if message.is_one_group:
        message.is_one_group = in_chunks == in_one_flight
        message.envelope.asks_for_data = not in_chunks


def _addresses(
    conn: ClientConnection, sender: Path, rcpts: Sequence[Rcpt], idna: Callable[[str], str] | None
) -> _Addresses:
    """What is beyond ASCII is said with SMTPUTF8 or, if it is a domain alone, in A-labels (RFC 6531 3.2)."""
    utf8 = False
    is_ascii = sender._is_ascii
    for rcpt in rcpts:
        if not rcpt._forward_path._is_ascii:
            is_ascii = False
        if rcpt._parameters:
            utf8 = utf8 or not rcpt._parameters._text.isascii()
            if not utf8 or "SMTPUTF8" in conn.features:  # else that is what is wrong
                check_parameters("RCPT", rcpt._parameters, conn.features)
    if is_ascii:
        return _Addresses(sender, rcpts, (), None, utf8)
    if "SMTPUTF8" in conn.features:
        return _Addresses(sender, rcpts, (), None, True)
    path = _in_ascii(sender, idna)
    if path is None:
        raise NotOffered("SMTPUTF8", f"the sender's address is not ASCII: {sender!r}")
    said: list[Rcpt] = []
    unsaid: list[tuple[int, Outcome]] = []
    for place, rcpt in enumerate(rcpts):
        recipient = _in_ascii(rcpt.forward_path, idna)
        if recipient is not None:
            said.append(Rcpt(forward_path=recipient, parameters=rcpt.parameters))
            continue
        reply = Reply(code=553, enhanced="5.6.7", text="the server does not offer SMTPUTF8")
        reply._to = rcpt
        unsaid.append((place, Outcome(recipient=rcpt.forward_path, status=Status.REFUSED, reply=reply)))
    if not said:
        raise NotOffered("SMTPUTF8", "no recipient's address is ASCII")
    return _Addresses(path, said, unsaid, [rcpt.forward_path for rcpt in rcpts], utf8)


def _in_ascii(path: Path, idna: Callable[[str], str] | None) -> Path | None:
    """The path with its domain in A-labels; None if that is not all it needs, or nobody knows how."""
    domain = path.domain
    if path.is_ascii:
        return path
    if domain is None or idna is None or path.route:
        return None
    try:
        ascii_path = Path(f"{path[: path._at]}@{idna(domain)}")
    except (ValueError, LocalProtocolError):
        return None
    return ascii_path if ascii_path.is_ascii else None


def _too_large(size: int, limit: int) -> LocalProtocolError:
    return LocalProtocolError(f"a message of {size} octets; the server takes {limit} (RFC 1870)", code=552)


def _parameters(
    features: Features,
    addresses: _Addresses,
    given: Parameters,
    body: bytes | None,
    size: int | None,
    allow_8bit: bool,
) -> Mapping[str, ParameterValue]:
    """The parameters of MAIL: those given, and those that are due and offered."""
    added: dict[str, ParameterValue] = {}
    if size is not None and "SIZE" in features:
        limit = features.size
        if limit is not None and size > limit:
            raise _too_large(size, limit)
        added["SIZE"] = size
    utf8 = addresses.utf8 or not given._text.isascii()
    if body is not None and not body.isascii():
        if "8BITMIME" in features:
            added["BODY"] = "8BITMIME"
        elif "BODY" not in given and not allow_8bit:
            raise NotOffered("8BITMIME", "the message is not ASCII")
        if has_utf8_header(body) and ("SMTPUTF8" in features or not allow_8bit):
            utf8 = True
    if utf8:
        if "SMTPUTF8" not in features:
            raise NotOffered("SMTPUTF8", "a parameter or the header of the message is not ASCII")
        added["SMTPUTF8"] = True
    return {**added, **given}


def within_limits(conn: ClientConnection, message: Prepared) -> Prepared:
    """The message without the recipients for whom there is no room left in the session (RFC 9422 4.3)."""
    room = conn.quota.left("RCPTDOMAINMAX")
    if room == UNLIMITED:
        return message
    met: set[str] = set()
    said = []
    unsaid = dict(message.unsaid)
    mail, rcpts = message.envelope.mail, message.envelope.rcpts
    places = [place for place in range(len(rcpts) + len(unsaid)) if place not in unsaid]
    for place, rcpt in zip(places, rcpts, strict=True):
        domain = (rcpt.forward_path.domain or "").lower()
        if domain and domain not in met and not conn.quota.has_met(domain):
            if len(met) >= room:
                unsaid[place] = Outcome(recipient=rcpt.forward_path, status=Status.UNSENT, reply=None)
                continue
            met.add(domain)
        said.append(rcpt)
    envelope = Envelope(mail, said)
    limited = Prepared(envelope, message.body, message.length, message.share)
    limited.is_binary, limited.is_text = message.is_binary, message.is_text
    limited.given = message.given
    limited.in_chunks, limited.in_one_flight = message.in_chunks, message.in_one_flight
    limited.unsaid = [(place, unsaid[place]) for place in sorted(unsaid)]
    return limited
