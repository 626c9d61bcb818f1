"""Fields of a message's header: read and written by the `email` package, and checked where it errs.

What it reads wrongly is refused. What it writes is read again: where it came out as something else, the field
is written anew here. CPython (3.13.0 at least) unquotes names when it folds them, so that
`"b@evil.example," <a@good.example>` becomes two addresses, and cuts encoded words of long texts in two.
"""

from __future__ import annotations

import re
from email.errors import (
    CharsetError,
    InvalidBase64CharactersDefect,
    InvalidBase64LengthDefect,
    InvalidBase64PaddingDefect,
    NonASCIILocalPartDefect,
    UndecodableBytesDefect,
)
from email.header import Header
from email.policy import EmailPolicy
from typing import Any

from smtp_proto import LocalProtocolError, Path

# RFC 5322 2.1.1: octets of a line, without its end.
MAX_LINE = 998

ADDRESS_FIELDS = frozenset(
    prefix + name for prefix in ("", "resent-") for name in ("from", "sender", "reply-to", "to", "cc", "bcc")
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 3.6.8
# Lines of which all but the first begin with a blank.
_FIELD = re.compile(rb"[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")
_PLAIN_NAME = re.compile(r"[ -~]{1,200}")

# What may be wrong with a field without any doubt about its addresses: it lies in a display name, or is
# an empty place in a list. A non-ASCII local part is RFC 6532. All else is refused, the obsolete forms
# of addresses included (RFC 5322 4.4): of "a@b (c <d@e>" or "<@a:b@c>" two readers make two addresses.
_HARMLESS_KINDS = (
    CharsetError,
    InvalidBase64CharactersDefect,
    InvalidBase64LengthDefect,
    InvalidBase64PaddingDefect,
    NonASCIILocalPartDefect,
    UndecodableBytesDefect,
)
_HARMLESS = frozenset(
    (
        "period in 'phrase'",
        "empty element in address-list",
        "address-list entry with no content",
        "empty element in mailbox-list",
        "group-list with empty entries",
        "encoded word inside quoted string",
        "missing whitespace before encoded word",
        "missing trailing whitespace after encoded-word",
    )
)

_reader = EmailPolicy()


def _encoded(name: str, value: Any, width: int = 0) -> str:
    """The text of a raw value that is no header object. An old `Header` becomes encoded words."""
    if not isinstance(value, Header):
        return str(value)
    try:
        return value.encode(linesep="\n", maxlinelen=width)
    except Exception as exc:
        raise LocalProtocolError(f"{name} cannot be written: {exc}") from exc


def _joined(name: str, text: str) -> str:
    """The lines of a field as one. Raises `LocalProtocolError` for one that would be a field of its own."""
    first, *more = _LINE_END.split(text)
    if any(not line.startswith((" ", "\t")) for line in more):
        raise LocalProtocolError(f"{name} has a line that does not belong to it: {text!r}")
    return "".join((first, *more))


def _utf8(text: str) -> str | None:
    """`text`, the raw octets in it read as UTF-8; None if they are not."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return None


def _parse(name: str, text: str) -> Any:
    try:
        return _reader.header_factory(name, text)
    except Exception as exc:  # the parser has many ways to fail
        raise LocalProtocolError(f"{name} cannot be read: {text!r}") from exc


def read(name: str, value: Any, *, lenient: bool = False) -> Any:
    """The header object of a raw value. Raises `LocalProtocolError`.

    `lenient`: octets that are not UTF-8 are taken as they are, and written as `unknown-8bit`.
    """
    if hasattr(value, "name"):
        return value
    raw = _joined(name, _encoded(name, value))
    text = _utf8(raw)
    if text is None and not lenient:
        raise LocalProtocolError(f"{name} holds octets that are not UTF-8: {raw!r}")
    return _parse(name, raw if text is None else text)


def mailboxes(name: str, value: Any) -> list[Path]:
    """The addresses of a field, groups expanded. Raises `LocalProtocolError` for what is in doubt."""
    header = read(name, value)
    if not hasattr(header, "addresses"):
        raise LocalProtocolError(f"{name} was not read as addresses: {header!r}")
    for defect in header.defects:
        if not isinstance(defect, _HARMLESS_KINDS) and str(defect) not in _HARMLESS:
            raise LocalProtocolError(f"{name}: {defect}: {header!r}")
    # RFC 2047 5: no encoded word in an addr-spec. The parser decodes it, and finds another domain there.
    if _hides_address(getattr(header, "_parse_tree", None)):
        raise LocalProtocolError(f"{name} has an address in an encoded word: {header!r}")
    return [_path(name, address.addr_spec) for address in header.addresses]


def _path(name: str, address: str) -> Path:
    try:
        path = Path(address)
    except LocalProtocolError as exc:
        raise LocalProtocolError(f"{name}: {exc}") from exc
    if path.domain is None or path.route:
        raise LocalProtocolError(f"{name}: not an address: {address!r}")
    return path


def _hides_address(token: Any, inside: bool = False) -> bool:
    kind = getattr(token, "token_type", None)
    if inside and kind == "encoded-word":
        return True
    inside = inside or kind == "addr-spec"
    return isinstance(token, list) and any(_hides_address(part, inside) for part in token)


def is_international(name: str, value: Any) -> bool:
    """Whether a field has an address that is not ASCII. What cannot be read has none."""
    if name.lower() not in ADDRESS_FIELDS or isinstance(value, Header) or str(value).isascii():
        return False
    try:
        header = read(name, value)
    except LocalProtocolError:
        return False
    return any(not box.addr_spec.isascii() for box in getattr(header, "addresses", ()))


class WirePolicy(EmailPolicy):
    """How a header is written: encoded words for what is not ASCII, or UTF-8 with `utf8`. Lines that came
    from outside stay as they are, whatever their length up to 998: somebody may have signed them.

    A `max_line_length` of 0 is what the generator sets within multipart/signed: nothing is changed there.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The lines of a field. Raises `LocalProtocolError` for what would be another field."""
        octets = self._verbatim(name, value)
        if octets is None:
            octets = self._written(name, read(name, value, lenient=True))
        if not (_NAME.fullmatch(name) and _FIELD.fullmatch(octets)):
            raise LocalProtocolError(f"not one field of a header (RFC 5322 2.2): {octets!r}")
        return octets

    def _verbatim(self, name: str, value: Any) -> bytes | None:
        if hasattr(value, "name"):
            return None
        text = _encoded(name, value, self.max_line_length or 0)
        blank = "" if text.startswith(("\r", "\n")) else " "
        octets = f"{name}:{blank}{text}".encode("utf-8", "surrogateescape")
        lines = re.split(rb"\r\n|\r|\n", octets)
        is_kept = not self.max_line_length or (octets.isascii() and max(map(len, lines)) <= MAX_LINE)
        return b"\r\n".join(lines) + b"\r\n" if is_kept else None

    def _written(self, name: str, header: Any) -> bytes:
        try:
            text = header.fold(policy=self)
        except Exception as exc:
            raise LocalProtocolError(f"{name} cannot be written: {header!r}") from exc
        text = self._addresses(name, header, text) if hasattr(header, "groups") else _text(name, header, text)
        return str(text).encode("utf-8" if self.utf8 else "ascii", "surrogateescape")

    def _addresses(self, name: str, header: Any, text: str) -> str:
        """An address field, as the package wrote it if that reads the same."""
        for box in header.addresses:
            if not (box.addr_spec.isascii() or (self.utf8 and _utf8(box.addr_spec) == box.addr_spec)):
                raise LocalProtocolError(f"{name} has an address that is not UTF-8: {box.addr_spec!r}")
        for written in (text, f"{name}: {_address_list(header)}\r\n"):
            again = _again(name, written)
            if again is not None and _contents(again) == _contents(header):
                return written
        raise LocalProtocolError(f"{name} cannot be written: {header!r}")


def _text(name: str, header: Any, text: str) -> str:
    """Any other field: as the package wrote it, unless words of our own read the same and that does not."""
    if str(_again(name, text)) == header or "\ufffd" in header:
        return text
    words = Header(header, "utf-8", header_name=name).encode(linesep="\r\n")
    written = f"{name}: {words}\r\n"
    return written if str(_again(name, written)) == header else text


def _again(name: str, written: str) -> Any:
    """What a reader finds in a field that was written; None if nothing can be read."""
    try:
        return read(name, written.partition(":")[2].strip())
    except LocalProtocolError:
        return None


def _contents(header: Any) -> list[tuple[str, str]]:
    """Addresses and names; blanks in names do not count: the parser keeps those between encoded words."""
    return [("".join(box.display_name.split()), box.addr_spec) for box in header.addresses]


def _address_list(header: Any) -> str:
    """The value of an address field, a line for each address."""
    items = []
    for group in header.groups:
        boxes = ",\r\n ".join(map(_mailbox, group.addresses))
        items.append(boxes if group.display_name is None else f"{_phrase(group.display_name)}: {boxes};")
    return ",\r\n ".join(items)


def _mailbox(box: Any) -> str:
    return f"{_phrase(box.display_name)} <{box.addr_spec}>" if box.display_name else str(box.addr_spec)


def _phrase(text: str) -> str:
    if _PLAIN_NAME.fullmatch(text) and "=?" not in text:
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
