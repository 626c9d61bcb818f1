"""The promise of the ready handlers: each message whole and once, nothing of one in the next, and nothing
in it that a terminal would obey.
"""

from __future__ import annotations

import io
import logging
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from peers import MESSAGE, RECIPIENT, SENDER, calling, nothing_left, serving

from smtp_proto import LineEnds, Rcpt, Reply, ServerConnection
from smtp_proto.ops import Session
from smtp_transports.handlers import (
    Collector,
    Discard,
    Handler,
    Mailbox,
    Maildir,
    Message,
    Print,
    printable,
)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


def deliver(handler: Handler, *messages: bytes, sender: str = SENDER, to: Any = (RECIPIENT,)) -> list[Any]:
    """Send messages to `handler` over a socket; the replies that decided about them."""
    with serving(handler, line_ends=LineEnds.PRESERVE) as (_, connect_to), connect_to() as client:
        results = [client.send_message(sender, to, message) for message in messages]
    return [outcome.reply and outcome.reply.code for result in results for outcome in result.outcomes]


# --- The base


def test_a_handler_that_overrides_nothing_takes_everything() -> None:
    session = Session(ServerConnection())
    handler = Handler()
    assert handler.connect(session) is handler.hello(session, "x") is handler.data(session) is None
    assert deliver(handler, MESSAGE) == [250]


def test_what_a_handler_raised_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "smtp_transports"):
        Handler().error(Session(ServerConnection()), ZeroDivisionError("in a hook"))
    assert "in a hook" in caplog.text


def test_a_session_has_a_state_of_its_own() -> None:
    seen = []

    class Counting(Discard):
        def message(self, session: Session) -> None:
            session.state["count"] = session.state.get("count", 0) + 1
            seen.append(session.state["count"])

    counting = Counting()
    deliver(counting, MESSAGE, MESSAGE)
    deliver(counting, MESSAGE)
    assert seen == [1, 2, 1]


# --- Collector, Mailbox and Discard


def test_a_mailbox_keeps_messages_in_their_order() -> None:
    mailbox = Mailbox()
    recipients = [RECIPIENT, "Edsger@mx.example", RECIPIENT]
    assert deliver(mailbox, b"one\r\n", b"two\r\n", to=recipients) == [250] * 6
    assert deliver(mailbox, b"three\r\n", sender="") == [250]
    assert [message.data for message in mailbox.messages] == [b"one\r\n", b"two\r\n", b"three\r\n"]
    assert mailbox.messages[0] == Message(SENDER, tuple(recipients), b"one\r\n")  # type: ignore[arg-type]
    assert mailbox.messages[2].sender == ""


def test_discard_takes_everything_and_keeps_nothing() -> None:
    states = []

    class Look(Discard):
        def close(self, session: Session) -> None:
            states.append(session.state)

    assert deliver(Look(), MESSAGE, b"x" * 900 + b"\r\n") == [250, 250]
    assert states == [{}]


def test_what_deliver_answers_is_the_answer() -> None:
    class Full(Collector):
        def deliver(self, session: Session, message: Message) -> Reply:
            return Reply(code=452, text=f"no room for {len(message.data)} octets")

    assert deliver(Full(), MESSAGE) == [452]


START = [b"EHLO client.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>"]


@pytest.mark.parametrize(
    "aborted",
    [
        pytest.param([b"BDAT 6\r\nlost", b"RSET"], id="RSET"),
        pytest.param([b"BDAT 6\r\nlost", b"EHLO client.example"], id="EHLO"),
        pytest.param([b"DATA", b"lost\nlost\r\n."], id="bare LF"),
        pytest.param([b"BDAT 6\r\nlost", b"NONSENSE", b"RSET"], id="error"),
    ],
)
def test_nothing_of_a_message_that_was_not_completed_is_in_the_next(aborted: list[bytes]) -> None:
    mailbox = Mailbox()
    with serving(mailbox, line_ends=LineEnds.STRICT) as (server, _), calling(server.address) as peer:
        peer.reply()
        for line in [*START, *aborted, *START[1:]]:
            peer.say(line)
            peer.reply()
        peer.say(b"DATA", b"whole", b".", b"QUIT")
        peer.rest()
    assert [message.data for message in mailbox.messages] == [b"whole\r\n"]


# --- Print


def test_a_message_is_printed_with_who_and_for_whom() -> None:
    file = io.StringIO()
    deliver(Print(file), MESSAGE, b"\xff\xc3\xa9\r\n\r\n", to=[RECIPIENT, "edsger@mx.example"])
    first = f"From <{SENDER}> to {RECIPIENT}, edsger@mx.example\nSubject: hello\n\nHello!\n\n"
    second = f"From <{SENDER}> to {RECIPIENT}, edsger@mx.example\n\\xffé\n\n"
    assert file.getvalue() == first + second


def test_standard_output_is_what_it_is_when_the_message_comes(capsys: pytest.CaptureFixture[str]) -> None:
    deliver(Print(), MESSAGE)
    assert capsys.readouterr().out.endswith("Hello!\n\n")


def test_nothing_printed_moves_the_cursor() -> None:
    file = io.StringIO()
    controls = "".join(map(chr, [*range(1, 10), 11, 12, *range(14, 32), *range(127, 160), 0x202E, 0x2028]))
    deliver(Print(file), f"a\tb{controls}\r\nnext\r\n".encode(), to=["\u202ex@mx.example"])
    printed = file.getvalue()
    assert all(c.isprintable() or c in "\n\t" for c in printed)
    assert "a\tb\\x01" in printed
    assert "\\x1b" in printed
    assert r"to \u202ex@mx.example" in printed
    assert printed.count("\n") == 4


def test_messages_of_many_sessions_are_not_mixed() -> None:
    class Slow(io.StringIO):
        """Lets others in after each write."""

        def write(self, text: str) -> int:
            written = super().write(text)
            threading.Event().wait(0.001)
            return written

    file = Slow()
    with serving(Print(file)) as (_, connect_to), ThreadPoolExecutor(8) as pool:

        def send(number: int) -> None:
            with connect_to() as client:
                client.send_message(SENDER, [RECIPIENT], b"%d\r\n" % number * 20)

        list(pool.map(send, range(100, 116)))
    messages = file.getvalue().split("\n\n")[:-1]
    bodies = sorted(message.partition("\n")[2] for message in messages)
    assert bodies == [f"{number}\n" * 19 + f"{number}" for number in range(100, 116)]


def test_printable_text_is_left_alone() -> None:
    assert printable("Grüße, 世界 \u20ac") == "Grüße, 世界 \u20ac"
    assert printable("\x1b[2J\r\n\udcff\\") == "\\x1b[2J\\r\\n\\udcff\\"


# --- Maildir


def test_a_message_is_delivered_once_into_a_maildir(tmp_path: Path) -> None:
    folder = tmp_path / "mail" / "grace"
    recipients = [RECIPIENT, Rcpt(forward_path='"o d d"@mx.example')]
    assert deliver(Maildir(folder), b"Subject: dots\r\n\r\n.\r\n\xff", to=recipients) == [250, 250]
    (file,) = (folder / "new").iterdir()
    assert file.read_bytes() == (
        b"Return-Path: <ada@sender.example>\n"
        b"Delivered-To: grace@mx.example\n"
        b'Delivered-To: "o d d"@mx.example\n'
        b"Subject: dots\n\n.\n\xff\n"
    )
    assert not list((folder / "tmp").iterdir())
    assert (folder / "cur").is_dir()


@pytest.mark.parametrize("there", [[], ["new"], ["tmp", "new", "cur"]])
def test_a_directory_that_is_there_is_used(there: list[str], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    assert deliver(Maildir(str(tmp_path)), MESSAGE, MESSAGE, sender="") == [250, 250]
    files = list((tmp_path / "new").iterdir())
    assert len(files) == 2
    assert files[0].read_text().startswith("Return-Path: <>\n")


def test_addresses_beyond_ascii_are_written_as_utf_8(tmp_path: Path) -> None:
    deliver(Maildir(tmp_path), MESSAGE, sender="grüße@sender.example", to=["世界@mx.example"])
    (file,) = (tmp_path / "new").iterdir()
    head = "Return-Path: <grüße@sender.example>\nDelivered-To: 世界@mx.example\nSubject: "
    assert file.read_text("utf-8").startswith(head)


def test_many_sessions_deliver_at_the_same_time(tmp_path: Path) -> None:
    with serving(Maildir(tmp_path)) as (_, connect_to), ThreadPoolExecutor(8) as pool:

        def send(number: int) -> None:
            with connect_to() as client:
                for _ in range(3):
                    assert client.send_message(SENDER, [RECIPIENT], b"%d\r\n" % number).all_accepted

        list(pool.map(send, range(8)))
    bodies = sorted(file.read_text().splitlines()[-1] for file in (tmp_path / "new").iterdir())
    assert bodies == sorted(str(number) for number in range(8) for _ in range(3))


def test_a_message_that_cannot_be_stored_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mail"
    maildir = Maildir(folder)
    shutil.rmtree(folder)
    assert deliver(maildir, MESSAGE) == [451]
    assert "FileNotFoundError" in caplog.text


def test_a_place_where_no_maildir_can_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Maildir(tmp_path / "file")
