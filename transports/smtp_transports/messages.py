"""Messages of the `email` package: who sends them to whom, and their octets for one server.

    message = EmailMessage()
    ...
    client.send_message(*envelope(message), message)

The clients call `render` with what the server offers. Both functions take an `EmailMessage` or an old
`Message`, with any policy, and leave it as it is.
"""

from __future__ import annotations

import base64
import binascii
import copy
import io
from collections.abc import Iterable
from email.generator import BytesGenerator
from email.message import Message
from typing import Any, NamedTuple

from smtp_proto import Features, LocalProtocolError, NotOffered, Path, normalize_line_ends

from ._fields import MAX_LINE, WirePolicy, is_international, mailboxes

__all__ = ["Envelope", "envelope", "needs_smtputf8", "render"]

_CTE = "Content-Transfer-Encoding"
_ENCODINGS = ("", "7bit", "8bit", "binary", "quoted-printable", "base64")

_Fields = list[tuple[str, Any]]


class Envelope(NamedTuple):
    """Who sends a message, and to whom. `sender`: one path. `recipients`: each path once."""

    sender: Path
    recipients: list[Path]


def envelope(message: Message[Any, Any]) -> Envelope:
    """The sender and the recipients that the header of `message` names.

    The sender is Sender, else the first mailbox of From (RFC 5322 3.6.2); the recipients are those of To, Cc
    and Bcc, in this order, groups expanded, each once. If the message was resent they are those of the most
    recent block (RFC 5322 3.6.6): the topmost fields that begin with Resent-, next to each other, up to the
    first name that comes again.

    Raises `LocalProtocolError` where there is no sender or no recipient, and for a field whose addresses are
    in doubt.
    """
    fields: _Fields = list(message.raw_items())
    block = _resent(fields)
    prefix, fields = ("resent-", block) if block else ("", fields)
    sender = _sender(fields, prefix)
    recipients: dict[tuple[str, bytes], Path] = {}
    for name in ("to", "cc", "bcc"):
        for path in _read_all(fields, prefix + name):
            # RFC 5321 2.4: the case of the domain does not count. Only that of ASCII: what else is one
            # domain is for IDNA to say.
            recipients.setdefault((path.local_part, (path.domain or "").encode().lower()), path)
    if not recipients:
        raise LocalProtocolError(f"no recipient: {prefix}to, {prefix}cc and {prefix}bcc name none")
    return Envelope(sender, list(recipients.values()))


def _resent(fields: _Fields) -> _Fields:
    """The most recent block of fields that begin with Resent-."""
    block: dict[str, tuple[str, Any]] = {}
    for name, value in fields:
        key = name.lower()
        if key.startswith("resent-") and key not in block:
            block[key] = (name, value)
        elif block:
            break
    return list(block.values())


def _read_all(fields: _Fields, key: str) -> list[Path]:
    found = (mailboxes(name, value) for name, value in fields if name.lower() == key)
    return [path for paths in found for path in paths]


def _sender(fields: _Fields, prefix: str) -> Path:
    for key in (prefix + "sender", prefix + "from"):
        count = sum(name.lower() == key for name, _ in fields)
        if count > 1:  # RFC 5322 3.6 allows one; which of them counts, readers do not agree
            raise LocalProtocolError(f"more than one {key} field")
        paths = _read_all(fields, key)
        if count and (not paths or (len(paths) > 1 and key.endswith("sender"))):
            raise LocalProtocolError(f"{key} has {len(paths)} addresses")
        if paths:
            return paths[0]
    raise LocalProtocolError(f"no sender: there is neither {prefix}sender nor {prefix}from")


def needs_smtputf8(message: Message[Any, Any]) -> bool:
    """Whether an address in a header of `message` is not ASCII, so that it can be sent only in UTF-8
    (RFC 6532), and with the parameter SMTPUTF8 (RFC 6531).
    """
    return any(is_international(*field) for part in message.walk() for field in part.raw_items())


def render(message: Message[Any, Any], features: Features) -> bytes:
    """The octets of `message` for a server that offers `features`, without Bcc and Resent-Bcc.

    Lines end in CRLF. The header is ASCII, with encoded words, unless an address in it is not. Where the
    server offers 8BITMIME, 8-bit parts stay as they are, else they become quoted-printable or base64; so do
    parts with lines of more than 998 octets, and with a NUL or the encoding `binary`. Nothing within
    multipart/signed is changed.

    Raises `NotOffered` for SMTPUTF8 and 8BITMIME, where it cannot be done without, and
    `LocalProtocolError` for what cannot be written: a text without a charset, a field with a line end.
    """
    is_utf8 = needs_smtputf8(message)
    for keyword in ("SMTPUTF8", "8BITMIME"):  # RFC 6531 3.1: who offers the first offers the second
        if is_utf8 and keyword not in features:
            raise NotOffered(keyword, "an address in the header is not ASCII")
    # What UTF-8 takes is counted in characters.
    longest = MAX_LINE // 4 if is_utf8 else MAX_LINE
    width = min(getattr(message.policy, "max_line_length", None) or longest, longest)
    policy = WirePolicy(utf8=is_utf8, max_line_length=width, linesep="\r\n")
    public = _copied(message)
    for name in ("Bcc", "Resent-Bcc"):
        del public[name]
    takes_8bit = "8BITMIME" in features
    octets = _flat(public, policy)
    if not _fits(octets, takes_8bit) or any(_encoding(part) == "binary" for part in public.walk()):
        _recode(public, policy, takes_8bit, is_message=True)
        octets = _flat(public, policy)
    if not takes_8bit and not octets.isascii():
        raise NotOffered("8BITMIME", "a part is signed, or for other reasons cannot be written in 7 bits")
    return octets


def _copied(part: Message[Any, Any]) -> Message[Any, Any]:
    """The tree of parts, fields and texts shared: the generator sets boundaries and policies in it."""
    new = copy.copy(part)
    if part.is_multipart():
        new.set_payload([_copied(inner) for inner in _parts(part)])
    return new


def _parts(part: Message[Any, Any]) -> Iterable[Message[Any, Any]]:
    inner: Any = part.get_payload()
    return inner if part.is_multipart() else ()


def _flat(part: Message[Any, Any], policy: WirePolicy) -> bytes:
    file = io.BytesIO()
    try:
        BytesGenerator(file, mangle_from_=False, policy=policy).flatten(part)
    except LocalProtocolError:
        raise
    except Exception as exc:  # a text that has no charset, a payload of another type
        raise LocalProtocolError(f"the message cannot be written: {exc!r}") from exc
    return normalize_line_ends(file.getvalue())


def _fits(octets: bytes, takes_8bit: bool) -> bool:
    if b"\0" in octets or not (takes_8bit or octets.isascii()):
        return False
    return max(map(len, octets.split(b"\r\n"))) <= MAX_LINE


def _encoding(part: Message[Any, Any]) -> str:
    return str(part.get(_CTE, "")).strip().lower()


def _recode(part: Message[Any, Any], policy: WirePolicy, takes_8bit: bool, *, is_message: bool) -> None:
    """Encode what does not fit. The package's own way to 7 bits fails for all that is not text in a known
    charset, and replaces characters that are not of theirs.
    """
    if part.get_content_type() == "multipart/signed":
        return
    label = _encoding(part)
    if part.is_multipart():  # RFC 2045 6.4: these have no encoding but a label
        for inner in _parts(part):
            _recode(inner, policy, takes_8bit, is_message=part.get_content_maintype() == "message")
        if label in ("8bit", "binary"):
            _label(part, "8bit" if takes_8bit else "7bit")
        return
    if label not in _ENCODINGS or part.get_content_maintype() in ("multipart", "message"):
        return  # what nobody can encode, or took apart
    octets = _body(part, policy)
    if label != "binary" and _fits(octets, takes_8bit):
        return
    _encode(part, octets, label)
    if is_message and "MIME-Version" not in part:
        part["MIME-Version"] = "1.0"


def _body(part: Message[Any, Any], policy: WirePolicy) -> bytes:
    """The octets of a single part as they would be sent, without its header."""
    bare = copy.copy(part)
    for name in part:
        del bare[name]
    bare.set_default_type("text/plain")
    return _flat(bare, policy)[2:]


def _encode(part: Message[Any, Any], octets: bytes, label: str) -> None:
    if label in ("binary", "quoted-printable", "base64"):
        decoded: Any = part.get_payload(decode=True)
        octets = decoded
    encoded, new = base64.encodebytes(octets), "base64"
    if part.get_content_maintype() == "text" and label != "binary":
        lines = normalize_line_ends(octets).replace(b"\r\n", b"\n")
        quoted = binascii.b2a_qp(lines, istext=True)
        if len(quoted) <= len(encoded):
            encoded, new = quoted, "quoted-printable"
    part.set_payload(encoded.decode("ascii"))
    _label(part, new)


def _label(part: Message[Any, Any], encoding: str) -> None:
    del part[_CTE]
    part[_CTE] = encoding
