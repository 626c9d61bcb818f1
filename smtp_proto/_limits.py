"""What is too much, and what is too slow. One place for every bound, each with its reason."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, NamedTuple

from ._errors import LocalProtocolError
from ._message import FrozenMapping


class Limits(NamedTuple):
    """Bounds on what the peer may send. Sizes are in octets and count the line's CRLF.

    A limit is tested before anything is stored: `n` octets pass, `n + 1` do not, however the stream
    was cut. None, where it is allowed, means no bound.
    """

    reply_line: int = 8192
    """RFC 5321 4.5.3.1.5 promises 512; real servers write 2,000 and more."""
    reply_lines: int = 1000
    """Lines in one reply. The longest EHLO replies seen have thirty."""
    reply_octets: int = 65536
    """Octets in one reply, all lines together."""
    command_line: int = 4096
    """RFC 5321 4.5.3.1.4 asks for 512, and each extension adds to it."""
    auth_line: int = 12288
    """RFC 4954 4: what an AUTH command or a response must be allowed to take."""
    parameters: int = 32
    """Parameters of one MAIL or RCPT. All the registered ones together are fewer."""
    message_size: int | None = 33_554_432
    """Octets of a message that a server accepts (RFC 1870): 32 MiB, as with aiosmtpd."""
    refused_octets: int = 33_554_432
    """How much of a body that is refused already a server swallows before it hangs up."""
    recipients: int = 1000
    """RFC 5321 4.5.3.1.8 asks for 100; Postfix takes 1,000."""
    errors: int = 20
    """Bad commands in one session before a server hangs up (Postfix: 20)."""
    auth_challenges: int = 10
    """Challenges in one AUTH exchange. The longest mechanism known needs four."""
    auth_failures: int = 5
    """Failed attempts to authenticate in one session; the next one is the last."""
    text_line: int | None = 998
    """RFC 5321 4.5.3.1.6, without its CRLF: longer lines of a message are not sent."""
    proxy_header: int = 4096
    """Octets of a `ProxyHeader`. It is meant to fit into 536; names out of certificates may be long."""


DEFAULT_LIMITS = Limits()


NO_QUOTA: Mapping[str, int] = FrozenMapping()
"""What nearly every server announces."""

UNLIMITED = 10**6
"""More than any limit that a server can announce (RFC 9422 4)."""


class Quota:
    """What a session has used of the limits that its server announced (RFC 9422 4), the same at both ends.

    Connections count by themselves: `conn.quota`. A command counts when it is said, whatever the answer. No
    server that keeps to its own word takes more.
    """

    __slots__ = ("_domains", "_mails", "_rcpts", "limits")

    limits: Mapping[str, int]
    """Those of the last answer to EHLO, such as `{"RCPTMAX": 100}`."""

    def __init__(self) -> None:
        self.limits = NO_QUOTA
        self._mails = 0
        self._rcpts = 0
        self._domains: set[str] | None = None  # until there is a limit to count them for

    def left(self, name: str) -> int:
        """How much of the limit `name` (MAILMAX, RCPTMAX or RCPTDOMAINMAX) is left; 10**6, more than any
        server can announce, if there is no such limit.
        """
        limit = self.limits.get(name)
        if limit is None:
            return UNLIMITED
        used = {"MAILMAX": self._mails, "RCPTMAX": self._rcpts, "RCPTDOMAINMAX": len(self._domains or ())}
        return limit - used[name]

    def has_met(self, domain: str | None) -> bool:
        """Whether another recipient at `domain` is nothing new. None: one without a domain."""
        return domain is None or domain.lower() in (self._domains or ())

    def count_mail(self) -> None:
        """Another MAIL. Raises `LocalProtocolError` if that is one too many."""
        if self.left("MAILMAX") <= 0:
            raise LocalProtocolError(
                f"no more than {self.limits['MAILMAX']} messages in a session", code=421, enhanced="4.7.0"
            )
        self._mails += 1
        self._rcpts = 0

    def count_rcpt(self, domain: str | None) -> None:
        """Another RCPT, at `domain`. Raises `LocalProtocolError` if that is one too many."""
        is_new = not self.has_met(domain)
        for name, is_counted in (("RCPTMAX", True), ("RCPTDOMAINMAX", is_new)):
            if is_counted and self.left(name) <= 0:
                text = f"the limit {name}={self.limits[name]} is reached"
                raise LocalProtocolError(text, code=452, enhanced="4.5.3")
        self._rcpts += 1
        if domain is not None and is_new and "RCPTDOMAINMAX" in self.limits:
            self._domains = self._domains or set()
            self._domains.add(domain.lower())


class Timer(Enum):
    """The timers of RFC 5321 4.5.3.2, each with the seconds recommended there.

    `conn.timer` names the one that runs now. The core has no clock: whoever owns one decides.
    """

    # Who waits looks up the seconds of one, and Enum's own hash is written in Python.
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__

    seconds: float
    """The recommended time in seconds."""

    def __init__(self, label: str, seconds: float) -> None:
        self.seconds = seconds  # `value` is slow to look up before Python 3.12

    GREETING = "greeting", 300.0
    """4.5.3.2.1: a client waits for the 220 that opens the session."""
    COMMAND = "command", 300.0
    """A client waits for the reply to any command not named below; the RFC is silent on these."""
    MAIL = "mail", 300.0
    """4.5.3.2.2: a client waits for the reply to MAIL."""
    RCPT = "rcpt", 300.0
    """4.5.3.2.3: a client waits for the reply to RCPT."""
    DATA_INIT = "data-init", 120.0
    """4.5.3.2.4: a client waits for the 354."""
    DATA_BLOCK = "data-block", 180.0
    """4.5.3.2.5: one piece of the body is under way."""
    DATA_DONE = "data-done", 600.0
    """4.5.3.2.6: a client waits for the verdict on the message. The longest, on purpose: who gives
    up too early sends the message twice."""
    SERVER = "server", 300.0
    """4.5.3.2.7: a server waits for the next command."""
