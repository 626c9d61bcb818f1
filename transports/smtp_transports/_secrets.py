"""Takes a password out of what a check tells: what was said to log in, and what a server repeated of it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace

from smtp_proto.testing.conformance import Verdict

HIDDEN = "<hidden>"

# What is shorter stands in much by chance.
_LEAST = 4
_AUTH = re.compile("(C: AUTH +[^ ]+)( .*)?", re.IGNORECASE)


def without_secrets(verdict: Verdict, secrets: Sequence[str]) -> Verdict:
    """The verdict without these, in the way of `forms`, and without the responses of AUTH in its dialogue. It
    stays as it is where nobody logs in: what a check makes up is no secret.
    """
    if not secrets:
        return verdict
    pattern = re.compile("|".join(map(re.escape, secrets)), re.IGNORECASE)
    return replace(
        verdict,
        detail=pattern.sub(HIDDEN, verdict.detail),
        dialogue=pattern.sub(HIDDEN, _without_responses(verdict.dialogue)),
    )


def _without_responses(dialogue: str) -> str:
    lines, is_secret = [], False
    for line in dialogue.splitlines():
        if match := _AUTH.fullmatch(line):
            is_secret = True
            lines.append(f"{match[1]} {HIDDEN}" if match[2] else line)
        elif line.startswith("S: "):
            is_secret = is_secret and line.startswith("S: 334")
            lines.append(line)
        else:
            is_response = is_secret and line.startswith("C: ") and line not in ("C: *", "C: <close>")
            lines.append(f"C: {HIDDEN}" if is_response else line)
    return "".join(f"{line}\n" for line in lines)


def forms(user: str, password: str) -> Sequence[str]:
    """What who knows the password would recognise: as it is, escaped, in base64. The longest first."""
    found = {form for form in _forms(user, password) if len(form) >= _LEAST}
    return sorted(found, key=len, reverse=True)


def _forms(user: str, password: str) -> Iterator[str]:
    octets = password.encode("utf-8", "surrogateescape")
    yield password
    yield repr(password)[1:-1]
    yield repr(octets)[2:-1]
    yield "".join(chr(octet) if 0x20 <= octet <= 0x7E else f"\\x{octet:02x}" for octet in octets)
    yield b64encode(octets).decode()
    yield b64encode(b"\0".join((b"", user.encode("utf-8", "surrogateescape"), octets))).decode()
    # Wherever it may begin in what was encoded, without the characters that its neighbours share.
    for before, shared in enumerate((0, 2, 3)):
        code = b64encode(bytes(before) + octets).decode()
        yield code[shared : -4 if (before + len(octets)) % 3 else None]
