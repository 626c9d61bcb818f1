"""A whole session as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..._client_connection import ClientConnection
from ..._commands import Command
from ..._errors import LocalProtocolError
from ..._limits import Limits
from ..._replies import Reply
from ..._server_connection import ServerConnection
from .._pair import Pair, Plan
from .._script import Script

Said: TypeAlias = Command | Reply | None
"""A command is said by the client, a reply by the server; None is the TLS handshake."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A legal session, from the greeting to its end: the client closes, or the server has said 421.

    `said`: what both sides say, in order. `lmtp`: whether it is LMTP. Raises what a connection raises if it
    is not legal, and `LocalProtocolError` if something is not answered.
    """

    said: tuple[Said, ...]
    lmtp: bool = False
    script: Script = field(init=False, repr=False, compare=False)
    """The same as octets. `str()` of it, or of the dialogue, is the text of a script."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "script", Script.parse(self.play().transcript))

    def __str__(self) -> str:
        return str(self.script)

    def __repr__(self) -> str:
        text = "".join(f"    {line}\n" for line in str(self).splitlines())
        return f"<Dialogue, {'LMTP' if self.lmtp else 'SMTP'}\n{text}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would show each field

    def play(self, plan: Plan | None = None) -> Pair:
        """Have two new connections say this, and each hear all that the other says before it answers. The
        octets travel as the `plan` has it.

        Returns the pair at the end of the session.
        """
        server = ServerConnection(lmtp=self.lmtp, limits=Limits(message_size=None))
        pair = Pair(ClientConnection(lmtp=self.lmtp), server, plan)
        for said in self.said:
            if said is None:
                pair.start_tls()
            elif isinstance(said, Command):
                pair.client.send(said)
            else:
                pair.server_events()
                pair.server.send(said)
                pair.client_events()
        if pair.client.outstanding:
            raise LocalProtocolError(f"{pair.client.outstanding} commands wait for an answer")
        pair.close("client")
        pair.server_events()
        return pair
