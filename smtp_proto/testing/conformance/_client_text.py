"""Rules for clients: the message, behind DATA and in chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ._client_rule import otherwise, rule
from ._client_session import Heard, Session

_CRLF = b"\r\n"
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_DOTS = re.compile(rb"(?m)^\.+")
_DOT = re.compile(rb"(?m)^\.")


@rule("go-ahead", "RFC 5321 3.3", "sends no message before the whole 354 came")
def _go_ahead(session: Session) -> Iterator[str]:
    for data in session.named("DATA"):
        behind = [heard for heard in session.behind(data)[:1] if heard.kind in ("text", "stray")]
        for heard in behind:
            # Who says QUIT took an earlier reply for the answer, and means no message.
            is_good = heard.knew(data) or heard.octets[:4] == b"QUIT"
            yield otherwise(is_good, f"sent {heard.shown} before the reply to DATA came")


@rule("refused-data", "RFC 5321 3.3", "sends no message where DATA was refused")
def _refused_data(session: Session) -> Iterator[str]:
    for data in session.named("DATA"):
        if data.is_refused:
            wrong = [
                heard for heard in session.behind(data)[:1] if heard.kind == "stray" and heard.knew(data)
            ]
            yield otherwise(not wrong, f"sent {wrong[0].shown if wrong else ''} all the same")


@rule("end-of-message", "RFC 5321 4.1.1.4", "ends a message with CRLF.CRLF, once, and adds no empty line")
def _end_of_message(session: Session) -> Iterator[str]:
    for text in session.texts:
        if text.is_whole:
            is_twice = any(heard.verb == "." for heard in session.behind(text)[:1])
            is_over = _is_same(_unstuffed(text), session)
            yield otherwise(not (is_twice and is_over), "ended a message twice")
            yield otherwise(not _added(_unstuffed(text), session), "added an empty line to the message")
        elif session.is_stuck:
            yield f"the message ends with {text.octets[-8:]!r}"


@rule("transparency", "RFC 5321 4.5.2", "puts a dot before each line that begins with one, and no other")
def _transparency(session: Session) -> Iterator[str]:
    for text in session.texts:
        # Where a bare CR or LF ends a line, too, nobody can say where a dot belongs.
        if not _is_empty(text) and not _BARE.search(text.octets):
            yield otherwise(
                not _has_wrong_dots(session, text), "the dots at the beginnings of lines are wrong"
            )


@rule("bare-line-end", "RFC 5321 2.3.8", "has no CR and no LF in a message but as CRLF")
def _bare_line_end(session: Session) -> Iterator[str]:
    is_binary = any(mail.parameters.get("BODY", "").upper() == "BINARYMIME" for mail in session.named("MAIL"))
    for octets in (text.octets for text in session.texts):
        yield otherwise(not _BARE.search(octets), "sent a bare CR or LF")
    if session.chunks and not is_binary:
        # The LF of a last CR may have been on its way.
        octets = b"".join(chunk.octets for chunk in session.chunks).removesuffix(b"\r")
        yield otherwise(not _BARE.search(octets), "sent a bare CR or LF")


@rule("same-message", "RFC 5321 4.5.2", "sends the message as it is, but for its line ends")
def _same_message(session: Session) -> Iterator[str]:
    for text in session.texts:
        if text.is_whole and not _is_empty(text) and not _has_wrong_dots(session, text):
            yield otherwise(_is_same(_unstuffed(text), session), "the message was changed")
    chunks = session.chunks
    is_over = bool(chunks) and chunks[-1].is_whole and chunks[-1].is_last_chunk
    if is_over and not _has_wrong_sizes(session):
        octets = _LINE_ENDS.sub(_CRLF, b"".join(chunk.octets for chunk in chunks))
        yield otherwise(_is_same(octets, session), "the message was changed")


@rule("chunks-offered", "RFC 3030 2", "says BDAT only where CHUNKING is offered")
def _chunks_offered(session: Session) -> Iterator[str]:
    for heard in session.named("BDAT"):
        if "CHUNKING" not in heard.stale:
            yield otherwise("CHUNKING" in heard.offers, f"{heard.shown}: CHUNKING is not offered")


@rule("chunk-size", "RFC 3030 2", "sends as many octets behind BDAT as it says")
def _chunk_size(session: Session) -> Iterator[str]:
    if session.chunks:
        yield otherwise(not _has_wrong_sizes(session), "what stands behind BDAT is not as long as it says")


@rule("last-chunk", "RFC 3030 2", "says LAST with the last chunk, and no chunk behind it")
def _last_chunk(session: Session) -> Iterator[str]:
    is_over = False
    for heard in session.named("MAIL", "BDAT"):
        if heard.verb == "BDAT":
            yield otherwise(not is_over, f"said {heard.shown} behind the last chunk")
        is_over = heard.verb == "BDAT" and heard.is_last_chunk
    is_given_up = session.is_stuck or not session.is_orderly or bool(session.named("DATA"))
    if session.chunks and not is_given_up:
        is_refused = any(chunk.is_refused for chunk in session.chunks)
        yield otherwise(is_over or is_refused, "no chunk was the last")


@rule("chunks-or-data", "RFC 3030 2", "does not say DATA and BDAT in one transaction")
def _chunks_or_data(session: Session) -> Iterator[str]:
    said: set[str] = set()
    for heard in session.named("MAIL", "DATA", "BDAT", "RSET"):
        if heard.verb in ("MAIL", "RSET"):
            said.clear()
        elif heard.verb == "BDAT" or "CHUNKING" in heard.offers:
            said.add(heard.verb)
            yield otherwise(len(said) == 1, f"said {heard.shown} in a transaction with both")


@rule("refused-chunk", "RFC 3030 2", "sends no chunk behind a refused one")
def _refused_chunk(session: Session) -> Iterator[str]:
    for chunk in session.chunks:
        if chunk.is_refused:
            mail = len(session.before(chunk, "MAIL"))
            wrong = [
                heard.shown
                for heard in session.behind(chunk)
                if heard.verb == "BDAT" and heard.knew(chunk) and len(session.before(heard, "MAIL")) == mail
            ]
            yield otherwise(not wrong, f"said {', '.join(wrong)}")


@rule("binary-data", "RFC 3030 3", "sends a message of BODY=BINARYMIME in chunks")
def _binary_data(session: Session) -> Iterator[str]:
    for mail in session.named("MAIL"):
        if mail.parameters.get("BODY", "").upper() == "BINARYMIME":
            wrong = [heard for heard in session.behind(mail) if heard.verb == "DATA"]
            yield otherwise(not wrong, "said DATA for a binary message")


def _canonical(session: Session) -> bytes:
    """The message with CRLF for every line end, and one at its end."""
    data = _LINE_ENDS.sub(_CRLF, session.letter.data)
    return data if data.endswith(_CRLF) or not data else data + _CRLF


def _sent(text: Heard) -> bytes:
    """A text without its end, and with CRLF for every line end."""
    return _LINE_ENDS.sub(_CRLF, text.octets.removesuffix(b".\r\n") if text.is_whole else text.octets)


def _unstuffed(text: Heard) -> bytes:
    return _DOT.sub(b"", _sent(text))


def _added(octets: bytes, session: Session) -> int | None:
    """How many empty lines it has more than the message; None if it is another message."""
    wanted = _canonical(session)
    if not octets.startswith(wanted) or octets[len(wanted) :].strip(_CRLF):
        return None
    # A message of no octets is one empty line for who cannot send less.
    return octets[len(wanted) :].removeprefix(b"" if wanted else _CRLF).count(_CRLF)


def _is_same(octets: bytes, session: Session) -> bool:
    """An empty line behind it is another rule's, and the last line may lack its end."""
    return _added(octets, session) is not None or octets + _CRLF == _canonical(session)


def _is_empty(text: Heard) -> bool:
    return text.octets in (b".\r\n", b"")


def _has_wrong_dots(session: Session, text: Heard) -> bool:
    """Whether this would be the message, or the beginning of it, with other dots."""
    sent = _sent(text).rstrip(_CRLF)
    stuffed = _DOT.sub(b"..", _canonical(session))
    # What comes behind a message was meant as more of it.
    went_on = any(heard.kind == "stray" or heard.verb == "." for heard in session.behind(text)[:1])
    if stuffed.startswith(sent) and not (
        went_on and text.is_whole and not _is_same(_unstuffed(text), session)
    ):
        return False
    return _DOTS.sub(b"", stuffed).startswith(_DOTS.sub(b"", sent))


def _has_wrong_sizes(session: Session) -> bool:
    """Whether a chunk went on behind its end, or was waited for."""
    for chunk in session.chunks:
        behind = session.behind(chunk)[:1]
        if (not chunk.is_whole and session.is_stuck) or any(heard.kind == "stray" for heard in behind):
            return True
    return False
