"""What a server says where its application says nothing. Replies are values: each is made once, for all
sessions, and keeps its octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .._features import Features
from .._replies import Greeting, Hello, Reply

DEFAULT_OFFER = Features(
    {"PIPELINING": (), "8BITMIME": (), "SMTPUTF8": (), "ENHANCEDSTATUSCODES": (), "CHUNKING": ()}
)
"""What `serve` can do without its application's help."""

OK = Reply(code=250, enhanced="2.0.0", text="ok")
GO_ON = Reply(code=250, enhanced="2.0.0", text="go on")
RESET = Reply(code=250, enhanced="2.0.0", text="reset")
SENDER_OK = Reply(code=250, enhanced="2.1.0", text="sender ok")
RECIPIENT_OK = Reply(code=250, enhanced="2.1.5", text="recipient ok")
START_DATA = Reply(code=354, text="end with <CRLF>.<CRLF>")
ACCEPTED = Reply(code=250, enhanced="2.6.0", text="message accepted")
ACCEPTED_FOR_SOME = Reply(code=250, enhanced="2.6.0", text="message accepted for some")
ONE_BY_ONE = Reply(code=353, text="one by one")
START_TLS = Reply(code=220, enhanced="2.0.0", text="go ahead")
AUTHENTICATED = Reply(code=235, enhanced="2.7.0", text="authenticated")
SEE_RFC = Reply(code=214, enhanced="2.0.0", text="see RFC 5321")
# RFC 5321 3.5.3: the answer that tells nobody whom to write to.
UNSURE = Reply(code=252, enhanced="2.5.0", text="send some mail, and see")

TOO_MANY_FAILURES = Reply(code=421, enhanced="4.7.0", text="too many failures")
NOTHING_WAITS = Reply(code=458, enhanced="4.5.0", text="nothing waits here")
HOOK_FAILED = Reply(code=451, enhanced="4.3.0", text="internal error")
AUTH_FAILED_FOR_NOW = Reply(code=454, enhanced="4.7.0", text="temporary authentication failure")

UNKNOWN_COMMAND = Reply(code=500, enhanced="5.5.1", text="unknown command")
NO_EXPN = Reply(code=502, enhanced="5.5.1", text="EXPN is not implemented")
NO_MECHANISM = Reply(code=504, enhanced="5.5.4", text="mechanism not supported")
TLS_FIRST = Reply(code=530, enhanced="5.7.0", text="say STARTTLS first")
AUTH_FIRST = Reply(code=530, enhanced="5.7.0", text="authenticate first")
NOT_TRUSTED = Reply(code=550, enhanced="5.7.0", text="not for you")
NO_BURL = Reply(code=554, enhanced="5.6.6", text="nothing is fetched here")


def verdict(replies: Sequence[Reply]) -> Reply:
    """That on the whole message, behind those for each recipient: refused only if it is for all of them, and
    for now only if some of them may be tried again."""
    if any(reply.is_positive for reply in replies):
        return ACCEPTED_FOR_SOME
    return next((reply for reply in replies if reply.is_transient), replies[0])


# A server has one name or few, and its sessions are alike; more of either are made anew each time.
_once = lru_cache(maxsize=64)


@_once
def greeting(domain: str, lmtp: bool) -> Greeting:
    """220, which opens a session."""
    return Greeting(domain=domain, text="LMTP" if lmtp else "ESMTP")


@_once
def closing(domain: str) -> Reply:
    """The answer to QUIT."""
    return Reply(code=221, enhanced="2.0.0", text=f"{domain} closing")


@_once
def introduction(domain: str) -> Reply:
    """The answer to HELO."""
    return Reply(code=250, text=domain)


@_once
def hello(
    domain: str, offer: Features, size: int | None, tls: bool, starttls: bool, mechanisms: tuple[str, ...]
) -> Hello:
    """The answer to EHLO and LHLO: `offer`, and what it says of the session as it is now."""
    offered = dict(offer)
    if not tls:
        offered.pop("REQUIRETLS", None)  # RFC 8689 2: it is a matter of sessions under TLS
    offered["SIZE"] = (str(size or 0),)
    if starttls and not tls:
        offered["STARTTLS"] = ()
    if mechanisms:
        offered["AUTH"] = mechanisms
    return Hello(domain=domain, features=Features(offered))
