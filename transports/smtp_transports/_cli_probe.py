"""The command `smtp-proto probe`: what a server shows of itself, for people and for programs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any

from smtp_proto import Features, Reply

from ._certificate import Certificate
from ._cli_place import Place, add_place, check_seconds, place_of
from ._cli_text import SAYS, Spans, columns, minute, put_out
from ._probe import Offer, Probe, Security, probe

_SECONDS = 30.0
_MIB = 2**20
_HEADING, _GOOD, _BAD = "bold", "green", "bold red"
_FITS = {True: (_GOOD, "yes"), False: (_BAD, "no"), None: (_BAD, "not known")}

_EPILOG = (
    "It says EHLO, STARTTLS where that is offered, NOOP five times and QUIT. Exit code: 0 all is well, 1 the "
    "certificate is not trusted or not for this name, or the conversation ended early, 2 the server said "
    "nothing."
)


def add_probe(commands: Any) -> None:
    """Add the command to these."""
    parser = commands.add_parser(
        "probe", help="show a server's features, certificate and round-trip time", epilog=_EPILOG
    )
    security = add_place(parser, "require STARTTLS")
    security.add_argument("--no-starttls", action="store_true", help="stay in the clear")
    parser.add_argument(
        "--timeout", type=float, default=_SECONDS, metavar="SECONDS", help="for each step (default: 30)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    check_seconds("--timeout", options.timeout)
    place = place_of(options)
    found = probe(
        place,
        domain=options.domain,
        starttls="required" if options.starttls else "never" if options.no_starttls else "opportunistic",
        seconds=options.timeout,
    )
    put_out(_document(place, found), _lines(place, found, datetime.now(UTC)), as_json=options.json)
    return 0 if found.is_fine else 1


# --- for people


def _lines(place: Place, found: Probe, now: datetime) -> Iterator[Spans]:
    yield [(_HEADING, f"{place}, {place.protocol}")]
    if found.greeting:
        yield from _heading("Greeting")
        yield from _reply(found.greeting)
    if found.clear:
        yield from _heading("In the clear")
        yield from _offer(found.clear)
    if found.tls:
        yield from _heading("TLS")
        yield from _tls(found, found.tls, now)
    elif found.distrust or found.fits is False:
        yield from _heading("TLS")
        yield [(_BAD, f"  not trusted: {found.distrust}" if found.distrust else "  not for this name")]
    if found.secured:
        yield from _heading("Under TLS")
        yield from _offer(found.secured)
    if found.round_trips:
        yield from _heading("Round trip")
        yield [("", f"  {_round_trip(found.round_trips)}")]
    if found.goodbye:
        yield from _heading("QUIT")
        yield from _reply(found.goodbye)
    if found.problem:
        yield from _heading("It ended early")
        yield [(_BAD, f"  {found.problem}")]


def _heading(text: str) -> Iterator[Spans]:
    yield [("", "")]
    yield [(_HEADING, text)]


def _reply(reply: Reply) -> Iterator[Spans]:
    said = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
    for line in reply.lines:
        yield [(SAYS["S"], f"  {said} {line}".rstrip(" "))]


def _offer(offer: Offer) -> Iterator[Spans]:
    yield [(SAYS["S"], f"  {offer.reply.code} {offer.reply.lines[0]}".rstrip(" "))]
    rows: list[Spans] = [
        [("", f"  {keyword}"), ("", explain(keyword, offer.features))] for keyword in offer.features
    ]
    yield from columns(rows) if rows else [[("", "  no extensions")]]


def explain(keyword: str, features: Features) -> str:
    """What an EHLO keyword's words mean; the words themselves where nobody knows, or they are malformed."""
    words = " ".join(features[keyword])
    known = _KNOWN.get(keyword)
    return (known(features) if known else "") or words


def _size(features: Features) -> str:
    size = features.size
    if size is None:
        return "no limit is told"
    return f"{size} octets" + (f" ({size / _MIB:,.1f} MiB)" if size >= _MIB else "")


def _future_release(features: Features) -> str:
    held = features.future_release
    return f"for {held[0]} seconds at most, until {held[1]}" if held else ""


_KNOWN: Mapping[str, Callable[[Features], str]] = {
    "SIZE": _size,
    "AUTH": lambda features: " ".join(features.auth),
    "LIMITS": lambda features: ", ".join(f"{name} {limit}" for name, limit in features.limits.items()),
    "DELIVERBY": lambda features: (
        f"within {features.deliver_by} seconds at least" if features.deliver_by else ""
    ),
    "FUTURERELEASE": _future_release,
    "MT-PRIORITY": lambda features: f"profile {features.mt_priority}",
}


def _tls(found: Probe, tls: Security, now: datetime) -> Iterator[Spans]:
    rows = [
        [("", "  protocol"), ("", tls.version)],
        [("", "  cipher"), ("", f"{tls.cipher}, {tls.bits} bits")],
        [("", "  trusted"), (_BAD, f"no: {found.distrust}") if found.distrust else (_GOOD, "yes")],
        [("", "  for this name"), _FITS[found.fits]],
    ]
    if tls.certificate is None:
        rows.append([("", "  certificate"), (_BAD, tls.unread)])
    else:
        rows += _certificate(tls.certificate, now)
    yield from columns([*rows, [("", "  SHA-256"), ("", tls.sha256)]])


def _certificate(certificate: Certificate, now: datetime) -> Iterator[list[tuple[str, str]]]:
    yield [("", "  subject"), ("", _name(certificate.subject))]
    for name in (*certificate.domains, *certificate.addresses):
        yield [("", "  name"), ("", name)]
    yield [("", "  issuer"), ("", _name(certificate.issuer))]
    yield [("", "  valid from"), ("", minute(certificate.not_before))]
    left = (certificate.not_after - now).days
    is_over = certificate.not_after < now
    until = f"{minute(certificate.not_after)}, {'expired' if is_over else f'{left} days left'}"
    yield [("", "  valid until"), (_BAD if is_over else "", until)]


def _name(pairs: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{attribute}={value}" for attribute, value in pairs) or "empty"


def _round_trip(seconds: list[float]) -> str:
    least, middle, most = (f"{one * 1000:.2f}" for one in (min(seconds), median(seconds), max(seconds)))
    return f"{middle} ms, the median of {len(seconds)} NOOPs ({least} to {most})"


# --- for programs


def _document(place: Place, found: Probe) -> dict[str, Any]:
    return {
        "server": str(place),
        "protocol": place.protocol,
        "greeting": _reply_document(found.greeting),
        "in_the_clear": _offer_document(found.clear),
        "tls": _tls_document(found, found.tls) if found.tls else None,
        "under_tls": _offer_document(found.secured),
        "round_trips": found.round_trips,
        "goodbye": _reply_document(found.goodbye),
        "distrust": found.distrust or None,
        "problem": found.problem or None,
        "is_fine": found.is_fine,
    }


def _reply_document(reply: Reply | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"code": reply.code, "enhanced": reply.enhanced, "lines": reply.lines}


def _offer_document(offer: Offer | None) -> dict[str, Any] | None:
    return offer and {
        "reply": _reply_document(offer.reply),
        "features": dict(offer.features),
        "size": offer.features.size,
        "auth": offer.features.auth,
        "limits": offer.features.limits,
    }


def _tls_document(found: Probe, tls: Security) -> dict[str, Any]:
    certificate = tls.certificate
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "bits": tls.bits,
        "is_trusted": not found.distrust,
        "fits_name": found.fits,
        "sha256": tls.sha256,
        "certificate": certificate
        and {
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "domains": certificate.domains,
            "addresses": certificate.addresses,
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
        },
    }
