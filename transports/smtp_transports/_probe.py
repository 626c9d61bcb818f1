"""What a server shows to whoever asks politely: its greeting, what it offers, its certificate.

A certificate that nobody vouches for is shown, too, and one for another name. OpenSSL judges both, and ends
the handshake where it does not trust: what it was not asked yet takes further connections, two at most. No
secret is said on any.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
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

# Of OpenSSL, for which the `ssl` module has no names: X509_V_ERR_HOSTNAME_MISMATCH and
# X509_V_ERR_IP_ADDRESS_MISMATCH, and X509_V_FLAG_NO_CHECK_TIME.
_MISMATCHES = (62, 64)
_NO_CHECK_TIME = 0x200000


class Offer(NamedTuple):
    """The answer to EHLO, LHLO or HELO."""

    reply: Reply
    features: Features


class Security(NamedTuple):
    """What TLS came to."""

    version: str
    cipher: str
    bits: int
    octets: bytes
    """The certificate, in DER."""
    certificate: Certificate | None
    """What that says."""
    unread: str
    """Why this is not known; else empty."""

    @property
    def sha256(self) -> str:
        """The fingerprint of the certificate, in hexadecimal."""
        return hashlib.sha256(self.octets).hexdigest()


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
    fits: bool | None = None
    """Whether the certificate is for the name that was asked for; None where OpenSSL did not judge that."""

    @property
    def is_fine(self) -> bool:
        """Whether all went well, the certificate included."""
        return not self.problem and not self.distrust and (self.tls is None or self.fits is True)


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
        stream = place.open(seconds, context)
        try:
            return _Talk(place, stream, seconds, clock).hold(domain or own_name(stream.sock), starttls)
        finally:
            stream.close()

    def again(found: Probe, context: ssl.SSLContext) -> Probe:
        with suppress(OSError, SMTPError):  # without this one there is what the others had
            seen, _ = talk(context)
            return replace(
                found if found.tls or not seen.tls else seen,
                tls=seen.tls or found.tls,
                distrust=found.distrust or seen.distrust,
                fits=seen.fits if found.fits is None else found.fits,
            )
        return found

    found, failure = talk(place.context)
    if found.fits is False:
        with _any_name(place.context) as context:
            found = again(found, context)
    if found.distrust:
        found = again(found, _trusting(None))
        if found.tls and found.fits is None:
            found = again(found, _trusting(found.tls.octets))
    elif failure and not found.greeting and found.fits is None:
        raise failure
    return found


@contextmanager
def _any_name(context: ssl.SSLContext) -> Iterator[ssl.SSLContext]:
    """The context as it is, but for the check of the name."""
    context.check_hostname = False
    try:
        yield context
    finally:
        context.check_hostname = True


def _trusting(octets: bytes | None) -> ssl.SSLContext:
    """For who wants to see any certificate; or to ask if this one is for the name, whatever else is wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if octets is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=octets)
        context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
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
            self._blame(exc.__cause__)
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
        self._found.fits = tls.context.check_hostname or None
        name, _, bits = tls.cipher()
        certificate, unread = None, ""
        try:
            certificate = read_certificate(tls)
        except ValueError as exc:
            unread = str(exc)
        return Security(tls.version(), name, bits, tls.getpeercert(binary_form=True), certificate, unread)

    def _blame(self, cause: BaseException | None) -> None:
        """Note what is wrong with the certificate, if that was it."""
        if isinstance(cause, ssl.SSLCertVerificationError):
            if cause.verify_code in _MISMATCHES:
                self._found.fits = False
            else:
                self._found.distrust = cause.verify_message
