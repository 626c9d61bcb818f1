"""SMTP and LMTP as a state machine: octets in, messages out, both roles, no I/O."""

from ._addresses import Path
from ._body import DataWriter, TextWriter
from ._client_connection import ClientConnection
from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ._connection import CLOSED, NEED_DATA, PAUSED, Signal
from ._errors import (
    ConnectionLost,
    LocalProtocolError,
    NotOffered,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    SMTPError,
    TimedOut,
)
from ._extension_commands import Burl, Etrn, XClient, XForward
from ._features import Features
from ._limits import Limits, Quota, Timer
from ._parameter_table import DeliverBy, OriginalRecipient, Parameter, ValidSince
from ._parameters import Parameters, register_parameter
from ._proxy import ProxyHeader
from ._proxy_reader import ProxyReader
from ._replies import AuthChallenge, Greeting, Hello, NamedMailbox, Reply, Successes
from ._reply_stream import RawReply, ReplyStream
from ._server_connection import ServerConnection
from ._state import State
from ._text import LineEnds, normalize_line_ends

__all__ = [
    "CLOSED",
    "NEED_DATA",
    "PAUSED",
    "Auth",
    "AuthChallenge",
    "AuthResponse",
    "Bdat",
    "Burl",
    "ClientConnection",
    "Command",
    "ConnectionLost",
    "Data",
    "DataWriter",
    "DeliverBy",
    "Ehlo",
    "EndOfMessage",
    "Etrn",
    "Expn",
    "Features",
    "Greeting",
    "Hello",
    "Helo",
    "Help",
    "Lhlo",
    "Limits",
    "LineEnds",
    "LocalProtocolError",
    "Mail",
    "MalformedCommand",
    "MessageData",
    "NamedMailbox",
    "Noop",
    "NotOffered",
    "OriginalRecipient",
    "Parameter",
    "Parameters",
    "Path",
    "ProtocolError",
    "ProxyHeader",
    "ProxyReader",
    "Quit",
    "Quota",
    "RawReply",
    "Rcpt",
    "Refused",
    "RemoteProtocolError",
    "Reply",
    "ReplyStream",
    "Rset",
    "SMTPError",
    "ServerConnection",
    "Signal",
    "StartTLS",
    "State",
    "Successes",
    "TextWriter",
    "TimedOut",
    "Timer",
    "UnknownCommand",
    "ValidSince",
    "Vrfy",
    "XClient",
    "XForward",
    "normalize_line_ends",
    "register_parameter",
]
