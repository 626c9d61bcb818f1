"""What a server shows to whoever asks politely: its greeting, what it offers, its certificate.

A certificate that nobody vouches for is shown, too. OpenSSL ends the handshake where it does not trust, so
that takes a second connection, on which nothing is trusted and no secret is said.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from smtp_proto import (
    ClientConnection,
    Features,
    LocalProtocolError,
    NotOffered,
    Refused,
    Reply,
    SMTPError,
    ops,
)
from smtp_proto.ops import StartTLSPolicy

from ._certificate import Certificate, read_certificate
from ._cli_place import Place
from ._places import own_name
from ._run import Driver
from ._sockets import SocketStream

# So many NOOPs are timed.
_ROUND_TRIPS = 5


class Offer(NamedTuple):
    """The answer to EHLO, LHLO or HELO."""

    reply: Reply
    features: Features


class Security(NamedTuple):
    """What TLS came to."""

    version: str
    cipher: str
    bits: int
    certificate: Certificate | None
    """None where it cannot be read."""
    fits: bool
    """Whether the certificate is for the name that was asked for."""


@dataclass(slots=True)
class Probe:
    """What was seen before the conversation ended. `problem`: why it ended early; `distrust`: why nobody
    vouches for the certificate; else empty.
    """

    greeting: Reply | None = None
    clear: Offer | None = None
    tls: Security | None = None
    secured: Offer | None = None
    round_trips: list[float] = field(default_factory=list)
    """Seconds from each NOOP to its reply."""
    goodbye: Reply | None = None
    problem: str = ""
    distrust: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether all went well, the certificate included."""
        return not self.problem and not self.distrust and (self.tls is None or self.tls.fits)


def probe(
    place: Place,
    *,
    domain: str | None = None,
    starttls: StartTLSPolicy = "opportunistic",
    seconds: float = 30.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Ask a server what it is. `seconds`: for each step; `clock` tells them, too.

    Raises `OSError` or `SMTPError` if the server said nothing, `LocalProtocolError` for a `domain` that is
    none.
    """

    def talk(context: ssl.SSLContext) -> tuple[Probe, SMTPError | None]:
        context.check_hostname = False  # the name is judged apart
        stream = place.open(seconds, context)
        try:
            return _Talk(place, stream, seconds, clock).hold(domain or own_name(stream.sock), starttls)
        finally:
            stream.close()

    found, failure = talk(place.context)
    if found.distrust:
        with suppress(OSError, SMTPError):  # without a second one there is what the first had
            seen, _ = talk(_trusting())
            seen.distrust = found.distrust
            return seen if seen.tls else found
    elif failure and not found.greeting:
        raise failure
    return found


def _trusting() -> ssl.SSLContext:
    """For who wants to see any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Talk:
    """A conversation, and what was seen in it."""

    def __init__(
        self, place: Place, stream: SocketStream, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._place = place
        self._stream = stream
        self._clock = clock
        self._conn = ClientConnection(lmtp=place.lmtp, tls=place.tls)
        self._driver = Driver(self._conn, stream, seconds)
        self._found = Probe()

    def hold(self, domain: str, starttls: StartTLSPolicy) -> tuple[Probe, SMTPError | None]:
        """What was seen, and what went wrong."""
        found, failure = self._found, None
        try:
            self._ask(domain, starttls)
        except LocalProtocolError:
            raise
        except SMTPError as exc:
            failure = exc
            found.problem = str(exc)
            found.distrust = _distrust(exc)
        if found.greeting:
            found.goodbye = self._driver.run(ops.quit(self._conn))
        return found, failure

    def _ask(self, domain: str, starttls: StartTLSPolicy) -> None:
        found = self._found
        if self._place.tls:
            self._driver.start_tls()
            found.tls = self._security()
        try:
            found.greeting = self._driver.run(ops.greet(self._conn))
        except Refused as exc:
            found.greeting = exc.reply
            raise
        offer = self._introduce(domain)
        if self._place.tls:
            found.secured = offer
        else:
            found.clear = offer
            self._secure(domain, starttls)
        self._time()

    def _introduce(self, domain: str) -> Offer:
        reply = self._driver.run(ops.hello(self._conn, domain))
        return Offer(reply, self._conn.features)

    def _secure(self, domain: str, starttls: StartTLSPolicy) -> None:
        if starttls == "never":
            return
        if "STARTTLS" in self._conn.features:
            self._driver.run(ops.start_tls(self._conn))
            self._found.tls = self._security()
            self._found.secured = self._introduce(domain)
        elif starttls == "required":
            raise NotOffered("STARTTLS", "TLS is required")

    def _time(self) -> None:
        while self._conn.is_usable and len(self._found.round_trips) < _ROUND_TRIPS:
            start = self._clock()
            self._driver.run(ops.noop(self._conn))
            self._found.round_trips.append(self._clock() - start)

    def _security(self) -> Security:
        tls = self._stream.ssl_object
        name, _, bits = tls.cipher()
        try:
            certificate = read_certificate(tls.getpeercert(binary_form=True) or b"")
        except ValueError:
            return Security(tls.version(), name, bits, None, fits=False)
        return Security(tls.version(), name, bits, certificate, certificate.fits(self._place.host))


def _distrust(exc: SMTPError) -> str:
    """Why the certificate was not trusted, if that was it."""
    cause = exc.__cause__
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else ""
