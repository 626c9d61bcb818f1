"""Operations: what is said in which order, as generators that any transport can drive.

    op = send_message(conn, "alice@a.example", ["bob@b.example"], b"Subject: hi\\r\\n\\r\\nhi\\r\\n")

See `Want` for what an operation asks of the loop that drives it.
"""

from ._auth import authenticate
from ._client import (
    StartTLSPolicy,
    etrn,
    expand,
    greet,
    hello,
    help,
    noop,
    quit,
    reply_to,
    reset,
    start_tls,
    success_of,
    verify,
    xclient,
    xforward,
)
from ._delivery import Delivery
from ._prepare import Transfer
from ._result import Outcome, SendResult, Status
from ._send import send_message
from ._send_many import Outgoing, send_messages
from ._serve import serve, turn_away
from ._serve_auth import Authenticator
from ._serve_defaults import DEFAULT_OFFER
from ._session import Session
from ._wants import Decide, NextChunk, NextToken, Op, Stopping, Want

__all__ = [
    "DEFAULT_OFFER",
    "Authenticator",
    "Decide",
    "Delivery",
    "NextChunk",
    "NextToken",
    "Op",
    "Outcome",
    "Outgoing",
    "SendResult",
    "Session",
    "StartTLSPolicy",
    "Status",
    "Stopping",
    "Transfer",
    "Want",
    "authenticate",
    "etrn",
    "expand",
    "greet",
    "hello",
    "help",
    "noop",
    "quit",
    "reply_to",
    "reset",
    "send_message",
    "send_messages",
    "serve",
    "start_tls",
    "success_of",
    "turn_away",
    "verify",
    "xclient",
    "xforward",
]
