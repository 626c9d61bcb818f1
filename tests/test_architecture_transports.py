"""The law of the transports: an adapter moves octets and knows neither a command nor a reply code, stays
small, and costs nothing until it is imported.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtp_proto
import smtp_transports
from smtp_proto import Command

FOLDER = Path(smtp_transports.__file__).parent

# The loops and what adapters share, and what binds them to one way of moving octets; those that are not
# written yet come under the law when they are.
LOOPS = [
    *["_stream.py", "_driving.py", "_run.py", "_callback_driver.py", "_callback_server.py", "_server.py"],
    *["_opening.py", "_sockets.py", "_async.py", "_asyncio_buffers.py", "_asyncio_deadlines.py"],
]
ADAPTERS = ["blocking.py", "asyncio.py", "_asyncio_stream.py", "trio.py", "gevent.py"]
LAWFUL = [name for name in (*LOOPS, *ADAPTERS) if (FOLDER / name).exists()]


def test_the_law_has_something_to_judge() -> None:
    assert {"_run.py", "_server.py", "_sockets.py", "blocking.py"} <= set(LAWFUL)


def commands() -> set[type[Command]]:
    """Every class of command there is."""
    found, new = set(), {Command}
    while new:
        found |= new
        new = {sub for cls in new for sub in cls.__subclasses__()}
    return found


VERBS = {cls.verb for cls in commands() if cls.verb}
CLASSES = {cls.__name__ for cls in commands()} | {"Greeting", "Hello", "AuthChallenge", "Reply"}


def literals(tree: ast.Module) -> Iterator[tuple[int, object]]:
    """Every constant with its line, docstrings left out."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    strings |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in strings:
            yield node.lineno, node.value


def breaches(source: str) -> list[tuple[int, object]]:
    """What an adapter must not say."""
    tree = ast.parse(source)
    found: list[tuple[int, object]] = []
    for line, value in literals(tree):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str):
            words = re.findall(r"[A-Za-z]+|[0-9]+", text)
            verbs = [word for word in words if word in VERBS or re.fullmatch("[2-5][0-9][0-9]", word)]
            found += [(line, verb) for verb in verbs]
        elif isinstance(text, int) and not isinstance(text, bool) and 200 <= text <= 599:
            found.append((line, text))
    for node in ast.walk(tree):
        names = [node.id] if isinstance(node, ast.Name) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        found += [(node.lineno, name) for name in names if name in CLASSES]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("name", LAWFUL)
def test_an_adapter_knows_no_command_and_no_reply(name: str) -> None:
    assert breaches((FOLDER / name).read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "send(b'QUIT\\r\\n')",
        "send('MAIL FROM:<a>')",
        "code == 250",
        "reply == b'354 go'",
        "conn.send(Quit())",
        "from smtp_proto import Ehlo",
        "smtp_proto.StartTLS()",
        "Reply(text='')",
    ],
)
def test_the_law_would_notice(line: str) -> None:
    assert breaches(line)
    assert not breaches(f'"""QUIT, 250, {line[:4]}."""\nx = 65536, 25, "never"')


def lines_of_code(path: Path) -> int:
    """Lines that hold code: not blank, no comment, no docstring."""
    code: set[int] = set()
    previous = tokenize.NEWLINE
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in (tokenize.ENCODING, tokenize.ENDMARKER):
                continue
            at_start = previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            if token.type not in silent and not (token.type == tokenize.STRING and at_start):
                code.update(range(token.start[0], token.end[0] + 1))
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                previous = token.type
    return len(code)


def test_lines_of_code_are_counted_without_prose(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    code = 'def f(\n    a,\n):\n    """Doc."""\n    return """a\nb"""\n'
    path.write_text(f'"""Doc\nstring."""\n\n# comment\n{code}')
    assert lines_of_code(path) == 5


@pytest.mark.parametrize("name", [name for name in LAWFUL if name in ADAPTERS])
def test_an_adapter_is_small(name: str) -> None:
    assert lines_of_code(FOLDER / name) < 200


def printed_by(script: str) -> list[str]:
    """The words that a new interpreter prints."""
    # -I: neither the environment nor the folder decides what is imported.
    done = subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True, text=True)
    return done.stdout.split()


def loaded_by(statement: str) -> set[str]:
    """The modules that are there after `statement`, and were not before."""
    return set(
        printed_by(f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)")
    )


def test_importing_the_package_loads_no_machinery() -> None:
    loaded = loaded_by("import smtp_transports")
    assert "smtp_transports" in loaded
    assert not loaded & {"ssl", "socket", "asyncio", "threading", "trio", "gevent", "rich", "smtp_proto"}


def test_blocking_sockets_load_no_other_machinery() -> None:
    loaded = loaded_by("import smtp_transports.blocking")
    assert {"ssl", "socket", "smtp_transports._run"} <= loaded
    assert not loaded & {"asyncio", "trio", "gevent", "rich", "smtp_transports.cli"}
    assert not loaded & {"email", "logging", "secrets", "smtp_transports.messages"}


def annotations_compiled_by(statement: str) -> int:
    """How many annotations `typing` compiles, since they are text; the first is an eighth of the import."""
    return len(
        printed_by(
            "import sys, typing\n"
            "def heard(event, of):\n"
            "    if event == 'compile' and of[1] == '<string>' and not of[0].startswith(b'lambda'):\n"
            "        print('compiled')\n"  # a lambda is how namedtuple() makes a constructor
            f"sys.addaudithook(heard)\n{statement}"
        )
    )


def test_compiled_annotations_are_counted() -> None:
    assert annotations_compiled_by("typing.TypeVar('T', bound='str')") == 1


@pytest.mark.parametrize("module", ["smtp_proto", "smtp_transports.blocking"])
def test_an_import_compiles_no_annotation(module: str) -> None:
    # A NamedTuple's are text where `from __future__ import annotations` stands.
    assert annotations_compiled_by(f"import {module}") == 0


def test_the_core_knows_no_transport() -> None:
    folder = Path(smtp_proto.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names]
                assert not any(name.startswith("smtp_transports") for name in names), path
