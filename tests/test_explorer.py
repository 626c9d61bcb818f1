"""The explorer shows what the core says, line by line.

The promise: of every dialogue that is ready, of legal ones, of such that have been shaken, and of one for
each error that it knows, the page in a browser shows the states, events and errors of the core, in its words.
It is one file, needs no network, hides secrets, fits on a phone, and can be used with keys alone.
"""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from strategies import drawn

import explorer
from explorer_tables import ERRORS, SAID, tables
from javascript import pattern
from smtp_proto.testing import Script, Step
from smtp_proto.testing.strategies import dialogues, splits
from smtp_transports.blocking import serve
from smtp_transports.handlers import Mailbox
from transcripts import transcripts
from walks import walk

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

READY = transcripts()
NAMES = [transcript.name for transcript in READY]
ROLES = ("client", "server")


class Case(NamedTuple):
    text: str
    lmtp: bool


@st.composite
def shaken(draw: st.DrawFn) -> Case:
    """A dialogue of which some lines are missing, said twice, said somewhere else, or not in one piece.
    Now and then it is taken for one of the other protocol.
    """
    dialogue = draw(dialogues())
    steps = list(dialogue.script.steps)
    for _ in range(draw(st.integers(1, 3))):
        step = steps.pop(draw(st.integers(0, len(steps) - 1))) if steps else Step("client", b"NOOP\r\n")
        for _ in range(draw(st.integers(0, 2))):
            steps[(at := draw(st.integers(0, len(steps)))) : at] = draw(pieces(step))
    try:
        return Case(str(Script(tuple(steps))), dialogue.lmtp ^ (draw(st.integers(0, 9)) == 9))
    except ValueError:  # somebody speaks behind the end
        return Case(str(dialogue), dialogue.lmtp)


def pieces(step: Step) -> st.SearchStrategy[list[Step]]:
    if len(step.octets) < 2:
        return st.just([step])
    cuts = st.just([step.octets]) | splits(step.octets)
    return cuts.map(lambda parts: [Step(step.by, part) for part in parts])


def core(case: Case) -> list[dict[str, Any]]:
    return walk(Script.parse(case.text), lmtp=case.lmtp)


# Drives the page as a reader would, and leaves what is shown in an element of its own.
PROBE = """
<script>
const root = document.querySelector(".explorer");
const text = (element, selector) => element.querySelector(selector)?.textContent ?? null;
const seen = (end) => ({
  state: text(end, ".state"),
  ahead: text(end, ".ahead") ?? text(end, ".state"),
  outstanding: text(end, ".outstanding"),
  heard: [...end.querySelectorAll(".heard")].map((event) => event.textContent),
  error: text(end, ".error"),
  asked: !end.classList.contains("over"),
});
const shown = () => [...root.querySelectorAll(".steps > li")].map((step) => ({
  line: text(step, ".line"),
  wrong: step.classList.contains("wrong"),
  client: seen(step.querySelector(".end.client")),
  server: seen(step.querySelector(".end.server")),
}));
const type = (dialogue) => {
  root.querySelector("textarea").value = dialogue;
  root.querySelector("textarea").dispatchEvent(new Event("input", { bubbles: true }));
};
const speak = (lmtp) => root.querySelector(`input[value=${lmtp ? "lmtp" : "smtp"}]`).click();
const choose = (name) => {
  const pick = root.querySelector(".pick");
  pick.value = name;
  pick.dispatchEvent(new Event("change", { bubbles: true }));
};
const press = (key) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  document.activeElement.dispatchEvent(event);
  return [root.querySelector(".where").textContent, text(document.activeElement.closest("li"), ".line")];
};
const result = ((probe) => JSON.stringify(probe()))(() => { %s });
document.body.append(Object.assign(document.createElement("pre"), { id: "result", textContent: result }));
</script>
"""


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """Run JavaScript in the page: what it returns."""

    def run(script: str, *, fragment: str = "", width: int = 1280, page: str | None = None) -> Any:
        file = tmp_path / "page.html"
        file.write_text((page or explorer.page()) + PROBE % script, encoding="utf-8")
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom",
            f"{file.as_uri()}{fragment}",
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        found = re.search(r'<pre id="result">(.*?)</pre>', ran.stdout, re.DOTALL)
        assert found, ran.stdout[-2000:] + ran.stderr[-2000:]
        return json.loads(html.unescape(found[1]))

    return run


def as_shown(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the page has to show of these steps."""
    for step in steps:
        ends = (step["client"], step["server"])
        refused = [event for event in step["server"]["heard"] if re.search("Malformed|to be refused", event)]
        step["wrong"] = any(end["error"] for end in ends) or bool(refused)
        for role in ROLES:
            seen = step[role]
            del seen["features"]
            is_waiting = role == "client" and seen["outstanding"]
            seen["outstanding"] = str(seen["outstanding"]) if is_waiting else None
    return steps


def differences(cases: list[Case], pages: list[list[dict[str, Any]]]) -> Iterator[str]:
    for case, page in zip(cases, pages, strict=True):
        expected = as_shown(core(case))
        if page != expected:
            steps = zip(expected, page, strict=False)
            yield f"{case.text}\n" + "\n".join(f"{one}\n{other}" for one, other in steps if one != other)


def walked(browse: Any, cases: list[Case]) -> list[list[dict[str, Any]]]:
    script = "return CASES.map(([dialogue, lmtp]) => { speak(lmtp); type(dialogue); return shown(); });"
    return browse(script.replace("CASES", json.dumps(cases).replace("<", "\\u003c")))


@in_browser
def test_what_is_ready_is_shown_as_the_core_says(browse):
    pages = browse(f"return {NAMES}.map((name) => {{ choose(name); return shown(); }});")
    assert not list(differences([Case(one.text, one.lmtp) for one in READY], pages))


@in_browser
def test_legal_dialogues_are_shown_as_the_core_says(browse):
    cases = [Case(str(dialogue), dialogue.lmtp) for dialogue in drawn(dialogues(), 150)]
    assert not list(differences(cases, walked(browse, cases)))


def words_of_the_page() -> re.Pattern[str]:
    """What the core may say of what the page judges: its texts, with anything in their gaps."""
    known = tables()
    texts = [error["text"] for error in known["errors"].values()]
    for verb in known["verbs"].values():
        texts += [words["text"] for words in (verb["wrong"], verb["missing"]) if words]

    def filled(gap: re.Match[str]) -> str:
        return r"\S+" if gap[1] in ("verb", "name", "keyword", "mechanism") else ".*"

    return re.compile("|".join(re.sub(r"\\{(\w+)\\}", filled, re.escape(text)) for text in texts), re.DOTALL)


WORDS = words_of_the_page()


def is_judged(case: Case) -> bool:
    """Whether the page judges all that is refused in it. It has no words for what it says that it does not:
    the values of parameters and attributes, control characters, octets that are no UTF-8.
    """
    ends = [step[role] for step in core(case) for role in ROLES]
    said = [text for seen in ends for text in (*seen["heard"], seen["error"] or "")]
    refused = filter(None, map(SAID.fullmatch, said))
    return all(WORDS.fullmatch(match["text"]) for match in refused)


def test_what_the_page_judges_is_told_from_what_it_does_not() -> None:
    asked = ERRORS["parameter"].dialogue.partition("C: MAIL")[0].replace("250 a", "250-a\nS: 250 SIZE")
    for command, expected in {
        "MAIL FROM:<> XX=1": True,
        "MAIL FROM": True,
        "RCPT TO:<a@b>": True,
        "MAIL FROM:<> SIZE=x": False,
        "NOOP \\x07": False,
        "NOOP \\xff": False,
    }.items():
        assert is_judged(Case(f"{asked}C: {command}", lmtp=False)) is expected, command


@in_browser
def test_dialogues_that_are_wrong_are_shown_as_the_core_says(browse):
    cases = [case for case in dict.fromkeys(drawn(shaken(), 300, at_once=1)) if is_judged(case)]
    wrong = [case for case in cases if any(step[role]["error"] for step in core(case) for role in ROLES)]
    assert len(wrong) > 100
    assert not list(differences(cases, walked(browse, cases)))


@in_browser
def test_each_error_is_shown_as_the_core_says(browse):
    cases = [Case(provoked.dialogue, provoked.lmtp) for provoked in ERRORS.values()]
    cases.append(Case("S: 220 a\nC: EHLO a\nS: 250-a\nS: 250 AUTH=PLAIN\nC: AUTH PLAIN AA==", False))
    asked = ERRORS["bare"].dialogue.partition("C: a")[0]
    cases.append(Case(f"{asked}C: a\nC: .\\x0d\\\nC: \\x0a\\", False))
    cases.append(Case(f"{asked}C: .\\x0a", False))
    cases += [
        Case(f"S: 220 a\nC: {verb} {argument}".rstrip(" "), verb == "LHLO")
        for verb in tables()["kinds"]
        for argument in (
            "",
            "x",
            "!",
            "[1.2.3.4]",
            "[1.2.3]",
            "[IPv6:::1]",
            "[IPv6:1]",
            "[x:y]",
            "1 LAST",
            "a=b a=b",
        )
    ]
    assert not list(differences(cases, walked(browse, cases)))


@in_browser
def test_the_address_names_a_dialogue(browse):
    shown = browse("return [root.querySelector('.pick').value, shown()];", fragment="#smuggling")
    (expected,) = [one for one in READY if one.name == "smuggling"]
    assert shown == ["smuggling", as_shown(core(Case(expected.text, expected.lmtp)))]


@in_browser
def test_keys_move_between_the_steps(browse):
    moves = browse(
        "choose('pipelining'); root.querySelector('.steps .line').focus();"
        "return ['ArrowDown', 'ArrowDown', 'ArrowUp', 'End', 'ArrowDown', 'Home', 'ArrowUp'].map(press);"
    )
    (picked,) = [one for one in READY if one.name == "pipelining"]
    lines = picked.text.splitlines()
    count = len(lines)
    assert moves == [
        [f"step {number} of {count}", lines[number - 1]] for number in (2, 3, 2, count, count, 1, 1)
    ]


@in_browser
def test_the_chosen_step_is_told_in_words(browse):
    told = browse(
        "choose('pipelining'); for (let at = 0; at < 7; at++) root.querySelector('[data-to=on]').click();"
        "const words = (end) => [...end.children].map((one) => one.textContent);"
        "return [...root.querySelectorAll('.told')].map(words);"
    )
    states = tables()["states"]
    assert told[0][:2] == ["The client: ready", states["ready"]]
    assert "It waits for 2 answers." in told[0]
    assert any(line.startswith("If all goes well it will be rcpt") for line in told[0])
    assert "It may say EHLO, HELO, RSET" in " ".join(told[0])
    assert "LHLO" not in " ".join(told[0])
    assert told[1][:2] == ["The server: ready", states["ready"]]
    assert told[1][-1] == "It has to answer."


@in_browser
def test_what_is_no_dialogue_is_said(browse):
    complaint = "root.querySelector('.complaint').textContent"
    found = browse(
        f"type('S: 220 a\\nhello'); const bad = [{complaint}, shown().length];"
        f"type('# nothing\\n\\nS: 220 a'); return [bad, [{complaint}, shown().length]];"
    )
    assert found == [["line 2 is none of a dialogue: hello", 0], ["", 1]]


@in_browser
def test_the_log_of_smtplib_is_understood(browse):
    log = io.StringIO()
    message = "Subject: it's\r\n\r\n.C:\\dir\t\r\n"
    with (
        serve(Mailbox(), "127.0.0.1", 0, domain="mx.example") as server,
        redirect_stderr(log),
        smtplib.SMTP(*server.address, local_hostname="client.example") as client,
    ):
        client.set_debuglevel(1)
        client.ehlo()
        client.sendmail("ada@example.org", ["bob@example.com"], message)
    logged = f"S: 220 mx.example\n{log.getvalue()}"
    shown = browse(f"type({json.dumps(logged)}); return shown();")
    # Which letters of a command are capitals differs between versions of Python.
    assert [step["line"].lower() for step in shown if step["line"].startswith("C:")] == [
        "c: ehlo client.example",
        "c: mail from:<ada@example.org> size=27",
        "c: rcpt to:<bob@example.com>",
        "c: data",
        "c: subject: it's",
        "c:",
        r"c: ..c:\\dir\x09",
        "c: .",
        "c: quit",
    ]
    heard = [event for step in shown for event in step["server"]["heard"] if event != "MessageData"]
    assert heard == ["Ehlo", "Mail", "Rcpt", "Data", "EndOfMessage", "Quit"]
    assert {step["client"]["error"] for step in shown} == {None}
    assert shown[-1]["server"]["state"] == "closed"


SWAKS = r"""
=== Trying mx.example:25...
=== Connected to mx.example.
<-  220 mx.example ESMTP
 -> EHLO client.example
<-  250-mx.example
<-  250 STARTTLS
 -> STARTTLS
<-  220 go ahead
=== TLS started with cipher TLSv1.3:TLS_AES_256_GCM_SHA384:256
 ~> EHLO client.example
<~  250 mx.example
 ~> MAIL FROM:<ada\\b@example.org>
<~* 550 who is that?
*** a remark
 ~> QUIT
<~  221 bye
=== Connection closed with remote host.
"""


@in_browser
def test_the_log_of_swaks_is_understood(browse):
    script = r"""
S: 220 mx.example ESMTP
C: EHLO client.example
S: 250-mx.example
S: 250 STARTTLS
C: STARTTLS
S: 220 go ahead
<starttls>
C: EHLO client.example
S: 250 mx.example
C: MAIL FROM:<ada\\\\b@example.org>
S: 550 who is that?
C: QUIT
S: 221 bye
"""
    assert browse(f"type({json.dumps(SWAKS)}); return shown();") == as_shown(core(Case(script, False)))


@in_browser
def test_what_is_not_ascii_is_taken_as_utf8(browse):
    said = (
        "S: 220 a\nC: LHLO a\nS: 250-a\nS: 250 SMTPUTF8\nC: MAIL FROM:<> SMTPUTF8\nS: 250 ok\n"
        "C: RCPT TO:<öő@b>\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\nS: 250 ok"
    )
    assert browse(f"speak(true); type({json.dumps(said)}); return shown().at(-1).client.heard;") == [
        "Reply 250 to EndOfMessage for öő@b"
    ]


@in_browser
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_overflows(browse, width):
    framed = (
        f'<!doctype html><iframe style="border: 0; width: {width}px"></iframe><div class="explorer"></div>'
    )
    script = f"""
        const inner = document.querySelector("iframe").contentDocument;
        inner.write({json.dumps(explorer.page()).replace("<", chr(92) + "u003c")});
        inner.close();
        const pick = inner.querySelector(".pick");
        const fire = (element, what) => {{
          element.dispatchEvent(new inner.defaultView.Event(what, {{ bubbles: true }}));
          return inner.documentElement.scrollWidth - inner.documentElement.clientWidth;
        }};
        const widths = {NAMES}.map((name) => {{ pick.value = name; return fire(pick, "change"); }});
        inner.querySelector("textarea").value = `S: 220 a\\nC: EHLO ${{"x".repeat(500)}}\\nS: 250 !`;
        return [...widths, fire(inner.querySelector("textarea"), "input")];
    """
    assert browse(script, page=framed) == [0] * (len(NAMES) + 1)


def test_what_is_ready_is_right_but_for_what_its_title_says():
    wrong = [one.name for one in READY if one.title.startswith("Wrong:")]
    found = []
    for ready in READY:
        ends = [step[role] for step in core(Case(ready.text, ready.lmtp)) for role in ROLES]
        heard = " ".join(event for seen in ends for event in seen["heard"])
        if any(seen["error"] for seen in ends) or "Malformed" in heard or "to be refused" in heard:
            found.append(ready.name)
    assert found == ["refused", *wrong, "gone"]


def test_names_are_unlike_and_fit_into_an_address():
    assert len(set(NAMES)) == len(NAMES)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in NAMES)


def test_the_page_needs_nothing_else():
    page = explorer.page()
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|fetch\(|XMLHttpRequest|import\s*\(", page)
    assert page.count("<script>") == page.count("</script>") == 1


def test_no_secret_is_shown():
    (auth,) = [one for one in READY if one.name == "auth"]
    lines = [step["line"] for step in core(Case(auth.text, auth.lmtp))]
    assert [line for line in lines if "hidden" in line] == [
        "C: AUTH SCRAM-SHA-256 <hidden>", "S: 334 <hidden>", "C: <hidden>", "S: 334 <hidden>"
    ]  # fmt: skip
    assert not re.search("[A-Za-z0-9+/=]{20,}", "\n".join(lines))


def test_every_error_has_its_gaps():
    errors = tables()["errors"]
    for name, provoked in ERRORS.items():
        assert set(re.findall(r"\{(\w+)\}", errors[name]["text"])) == set(provoked.gaps)


@pytest.mark.parametrize(("python", "javascript"), [
    ("a++b*+c?+d{2}+", "a+b*c?d{2}"),
    (r"(?P<word>[a-z]+)\Z", r"(?<word>[a-z]+)$"),
    (r"(?i:last|x[a-z])y", r"(?:[Ll][Aa][Ss][Tt]|[Xx][a-z])y"),
    (r"(?s:.(.)).", r"(?:[^]([^]))[^\n]"),
    (r"(?!a)\.[.+]\[", r"(?!a)\.[.+]\["),
])  # fmt: skip
def test_patterns_are_put_into_javascript(python, javascript):
    assert pattern(python) == javascript
