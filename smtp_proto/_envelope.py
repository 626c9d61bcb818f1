"""What opens a transaction, as one group: MAIL, RCPT for each recipient, and DATA (RFC 2920 3.1), unless the
message itself stands behind them, in a chunk (RFC 3030 4.2). Here as a client says it, and as a server reads
each line of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from . import _grammar
from ._addresses import Path, judged_path
from ._commands import Command, Data, Mail, Rcpt, received_mail, received_rcpt
from ._errors import LocalProtocolError
from ._limits import Limits
from ._parameters import NO_PARAMETERS, parse_parameters, size_alone
from ._receive_buffer import ReceiveBuffer

DATA = Data()


class Envelope(Sequence[Command]):
    """These commands, in this order.

    Those of a plain one, which is what most are, are made when somebody looks at them: so it costs a
    connection less than a list of them. A plain envelope has addresses that stand in the commands as they
    are, and no parameter but SIZE.
    """

    __slots__ = ("_commands", "asks_for_data", "recipients", "sender", "size")

    sender: str
    recipients: Sequence[str]
    size: int | None
    """Of a plain one: what its MAIL says of the message, in octets; None for nothing."""
    asks_for_data: bool
    """Whether DATA is the last of them."""

    def __init__(self, mail: Mail, rcpts: Sequence[Rcpt]) -> None:
        self.sender = mail._reverse_path
        self.recipients = [rcpt._forward_path for rcpt in rcpts]
        self.size = None
        self.asks_for_data = True
        self._commands: tuple[Mail, Sequence[Rcpt]] | None = (mail, rcpts)

    @property
    def commands(self) -> tuple[Mail, Sequence[Rcpt]]:
        """MAIL, and each RCPT."""
        if self._commands is None:
            parameters = NO_PARAMETERS if self.size is None else size_alone(self.size)
            rcpts = [received_rcpt(Path(recipient), NO_PARAMETERS) for recipient in self.recipients]
            self._commands = received_mail(Path(self.sender), parameters), rcpts
        return self._commands

    @property
    def mail(self) -> Mail:
        """The first of them."""
        return self.commands[0]

    @property
    def rcpts(self) -> Sequence[Rcpt]:
        """Those that name the recipients."""
        return self.commands[1]

    def __len__(self) -> int:
        return len(self.recipients) + (2 if self.asks_for_data else 1)

    @overload
    def __getitem__(self, at: int) -> Command: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Command]: ...
    def __getitem__(self, at: int | slice) -> Command | Sequence[Command]:
        data = (DATA,) if self.asks_for_data else ()
        return (self.mail, *self.rcpts, *data)[at]

    def __repr__(self) -> str:
        return f"Envelope({list(self)})"


_new_envelope = Envelope.__new__


def plain_envelope(sender: str, recipients: Sequence[str], size: int | None) -> Envelope:
    """A plain one, of addresses for which `are_plain` holds."""
    envelope = _new_envelope(Envelope)
    envelope.sender = sender
    envelope.recipients = recipients
    envelope.size = size
    envelope.asks_for_data = True
    envelope._commands = None
    return envelope


def read_envelope(buffer: ReceiveBuffer, limits: Limits) -> tuple[bytes, Command] | None:
    """The line in front, without its CRLF, and its command, if it is one of these as most are.

    None: nothing was taken, and `read_command` has to look closer.
    """
    octets = buffer.octets
    # What comes octet by octet is not looked at again and again.
    match = None if buffer.searched else _grammar.ENVELOPE_LINE.match(octets)
    if match is None or (end := match.end()) > limits.command_line:
        return None
    line, mail, address, local, words = match.groups()
    parameters = NO_PARAMETERS
    if words:
        try:
            parameters = parse_parameters("MAIL" if mail else "RCPT", words, limits.parameters)
        except LocalProtocolError:
            return None
    del octets[:end]
    if address is None:
        return line, DATA
    path = judged_path(Path, str(address, "ascii"), len(local))
    return line, received_mail(path, parameters) if mail else received_rcpt(path, parameters)
