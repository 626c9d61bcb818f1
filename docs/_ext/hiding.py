"""What proves who somebody is, taken out of a dialogue: as the core hides it in every `repr`."""

from __future__ import annotations

import re

HIDDEN = "<hidden>"

_AUTH = re.compile("(AUTH +[^ ]+)( +.+)?", re.IGNORECASE)


class Hider:
    """Follows a dialogue line by line. Challenges are hidden, too; a lone `*`, which gives up, is not."""

    def __init__(self) -> None:
        self._exchanging = False

    def client(self, line: str) -> str:
        """A client's line as it may be shown."""
        if self._exchanging:
            return line if line == "*" else HIDDEN
        auth = _AUTH.fullmatch(line)
        self._exchanging = auth is not None
        return f"{auth[1]} {HIDDEN}" if auth and auth[2] else line

    def server(self, line: str) -> str:
        """A server's line as it may be shown."""
        is_challenge = self._exchanging and line.startswith("334")
        self._exchanging = is_challenge
        return f"334 {HIDDEN}" if is_challenge else line
