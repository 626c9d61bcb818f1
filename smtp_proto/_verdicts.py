"""The verdicts on one message, where there is more than one: which of them is for whom."""

from __future__ import annotations

from ._addresses import Path
from ._errors import LocalProtocolError
from ._replies import Reply


class Verdicts:
    """In LMTP there is one for each accepted recipient (RFC 2033 4.2). With PRDR (draft-hall-prdr 4.5) the
    same may come behind a 353, and then one more for the whole message.
    """

    __slots__ = ("_accepted", "_announced", "_heard", "_lmtp", "for_each")

    for_each: bool
    """Whether there may be several."""

    def __init__(self, *, lmtp: bool) -> None:
        self._lmtp = lmtp
        self.begin(prdr=False)

    def begin(self, *, prdr: bool) -> None:
        """A transaction begins."""
        self.for_each = self._lmtp or prdr
        self._accepted: list[Path] = []
        self._heard = 0
        self._announced = self._lmtp

    def accept(self, path: Path) -> None:
        """A recipient was accepted."""
        self._accepted.append(path)

    def are_there_more_than(self, reply: Reply) -> bool:
        """Put the recipient to a verdict; whether others follow it."""
        accepted = self._accepted
        if reply._code == 353:
            if self._announced or not (self.for_each and accepted):
                raise LocalProtocolError("353 that nothing asked for")
            self._announced = True
            return True
        if not self._announced or self._heard == len(accepted):
            return False
        reply._recipient = accepted[self._heard]
        self._heard += 1
        is_last = self._lmtp and self._heard == len(accepted)
        return not is_last and reply._code != 421
