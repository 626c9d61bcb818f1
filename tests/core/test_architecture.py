"""The laws of the core that no other test would see broken, read from its source and from its import.

The promises: no I/O, clock or chance, by a short list of imports; states change in one file, octets are
searched and numbers are read where they are bounded; faults of the peer are made in one file; what an
import brings is little, and quick; files and functions stay small; `__all__` is what there is.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import smtp_proto

CORE = Path(smtp_proto.__file__).parent
SOURCES = {
    path.relative_to(CORE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(CORE.rglob("*.py"))
    if "testing" not in path.relative_to(CORE).parts
}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(source) for name, source in SOURCES.items()}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    return [(name, node) for name, tree in trees().items() for node in ast.walk(tree)]


# Of `io`, what opens nothing: it looks at the line ends of a text.
NAMES_OF_IO = {"IncrementalNewlineDecoder"}

STANDARD_MODULES = {
    "__future__",
    "binascii",
    "collections",
    "collections.abc",
    "enum",
    "functools",
    "ipaddress",
    "operator",
    "re",
    "typing",
}


# Mechanisms need digests and tables of characters; who logs in nowhere need not import them.
SASL_MODULES = {"hashlib", "hmac", "json", "stringprep", "unicodedata"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call: its file, the last name of what is called, and the call."""
    for file, node in nodes():
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield file, name, node


def test_the_core_is_found() -> None:
    assert {"__init__.py", "_state.py", "_grammar.py", "ops/_serve.py"} <= set(SOURCES)


def test_the_core_imports_a_short_list_of_standard_modules_and_itself() -> None:
    for file, node in nodes():
        modules = STANDARD_MODULES | SASL_MODULES if file.startswith("sasl/") else STANDARD_MODULES
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= modules, file
        elif isinstance(node, ast.ImportFrom) and node.module == "io":
            assert {alias.name for alias in node.names} <= NAMES_OF_IO, file
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module in modules, file
        elif isinstance(node, ast.ImportFrom):
            # "from ..x" may leave a folder of the core, and never the core.
            assert node.level <= 1 + file.count("/"), file


def test_nothing_opens_prints_or_imports_by_another_way() -> None:
    forbidden = {"open", "print", "input", "exec", "eval", "compile", "__import__", "import_module"}
    for file, name, call in calls():
        assert name not in forbidden or ast.unparse(call.func) == "re.compile", f"{file}:{call.lineno}"


def test_mechanisms_know_no_protocol() -> None:
    """Others than SMTP use them: what they take from the core is how a value is made."""
    for file, node in nodes():
        if file.startswith("sasl/") and isinstance(node, ast.ImportFrom) and node.level > 1:
            assert node.module == "_message", file
        elif isinstance(node, ast.ImportFrom) and node.level and not file.startswith(("sasl/", "ops/")):
            assert not (node.module or "").startswith("sasl"), file


def test_digests_are_compared_in_constant_time() -> None:
    """A `==` between a proof and what it should be ends at the first octet that differs."""
    secret = {
        "digest",
        "expected",
        "proof",
        "signature",
        "stored_key",
        "server_key",
        "client_key",
        "verifier",
    }
    for file, node in nodes():
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            for side in (node.left, *node.comparators):
                name = getattr(side, "attr", getattr(side, "id", ""))
                assert not file.startswith("sasl/") or name not in secret, f"{file}:{node.lineno}"


def test_a_state_is_assigned_in_one_file() -> None:
    for file, node in nodes():
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr):
            targets = [node.target]
        for target in targets:
            # An operation's own `state` is a place for its handler, and no State.
            if isinstance(target, ast.Attribute) and target.attr == "state" and "/" not in file:
                assert file == "_state.py"


def test_faults_of_the_peer_are_made_in_one_file() -> None:
    files = {file for file, name, _ in calls() if name == "RemoteProtocolError"}
    assert files == {"_connection.py"}


def test_int_stands_only_behind_a_pattern_that_bounds_it() -> None:
    """Python's own int() takes "+25", "1_0", " 7" and 4,300 digits."""
    files = {file for file, name, _ in calls() if name == "int"}
    assert files <= {"_grammar.py", "_readers.py", "_addresses.py", "sasl/_grammar.py"}
    for file, name, call in calls():
        if name in ("int", "float"):
            line = SOURCES[file].splitlines()[call.lineno - 1]
            assert file == "_grammar.py" or "by the pattern" in line, f"{file}:{call.lineno}"


def test_octets_are_searched_where_time_is_bounded() -> None:
    searching = {"find", "rfind", "index", "rindex", "search", "finditer", "findall", "splitlines", "isdigit"}
    homes = {"_receive_buffer.py", "_body.py", "_text.py", "_grammar.py"}
    for file, name, call in calls():
        # A rule of the grammar may be asked from anywhere.
        if name in searching and not ast.unparse(call.func).startswith("_grammar."):
            assert file in homes, f"{file}:{call.lineno} {ast.unparse(call)}"
        # It also ends lines at what no RFC calls a line end; nor is a blank what Python calls space.
        assert name not in ("splitlines", "isspace", "isdigit", "isdecimal"), f"{file}:{call.lineno}"


def test_patterns_spell_out_their_characters() -> None:
    """On text, these classes hold the digits, letters and blanks of every script."""
    docstrings = {
        id(node.value)
        for _, node in nodes()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for file, node in nodes():
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            text = node.value if isinstance(node.value, str) else ""
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else text
            assert not any(escape in text for escape in (r"\s", r"\d", r"\w", r"\b", "(?m")), file


def test_every_pattern_of_the_grammar_is_used_whole() -> None:
    """`fullmatch` alone overlooks nothing before or behind; the exceptions search on purpose."""
    allowed = {
        f"_grammar.{name}.match"
        for name in (
            "ENHANCED_CODE",
            "ENVELOPE_LINE",
            "LINES_OF_REPLY",
            "ONE_LINE_REPLY",
            "SUCCESSES",
        )
    }
    for file, node in nodes():
        if isinstance(node, ast.Attribute) and node.attr == "match":
            assert ast.unparse(node) in allowed, f"{file}:{node.lineno}"


def test_files_and_functions_are_small() -> None:
    for file, source in SOURCES.items():
        assert source.count("\n") <= 400, file
    lengths = {
        f"{file}:{node.name}": length(node)
        for file, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longest = max(lengths, key=lambda name: lengths[name])
    assert lengths[longest] <= 60, longest
    assert median(lengths.values()) <= 10


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_all_names_what_there_is_in_order() -> None:
    names = smtp_proto.__all__
    for name in names:
        assert getattr(smtp_proto, name) is not None
    assert len(set(names)) == len(names)

    def order(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert names == sorted(names, key=order)
    # And nothing is public by accident: what is imported there is exported.
    imported = {
        alias.asname or alias.name
        for node in trees()["__init__.py"].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(names)


# In a fresh interpreter without site-packages, environment or user settings.
IMPORT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
start = time.process_time()
__import__(sys.argv[2])
spent = time.process_time() - start
print(json.dumps([spent, sorted(set(sys.modules) - before)]))
"""


def imported(module: str) -> tuple[float, set[str]]:
    """The CPU time that an import takes, in seconds, and what it brings."""
    command = [sys.executable, "-S", "-E", "-I", "-c", IMPORT, str(CORE.parent), module]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60)
    seconds, modules = json.loads(run.stdout)
    return seconds, set(modules)


def test_an_import_is_quick_and_brings_nothing_that_waits_or_guesses() -> None:
    _, modules = imported("smtp_proto")
    forbidden = {
        *("socket", "_socket", "ssl", "_ssl", "select", "selectors", "asyncio", "threading"),
        *(
            "email",
            "logging",
            "dataclasses",
            "inspect",
            "random",
            "secrets",
            "hashlib",
            "hmac",
            "stringprep",
            "unicodedata",
            "datetime",
            "subprocess",
        ),
        *("tempfile", "shutil", "pathlib", "signal", "queue", "concurrent", "ipaddress", "smtplib", "locale"),
    }
    assert {module.partition(".")[0] for module in modules} & forbidden == set()
    assert {module for module in modules if module.startswith(("smtp_proto.ops", "smtp_proto.sasl"))} == set()
    assert len(modules) < 75
    # Where a busy machine is slower than that, it is slower with smtplib too: in turns, the best of each.
    own = peer = float("inf")
    for _ in range(5):
        own, peer = min(own, imported("smtp_proto")[0]), min(peer, imported("smtplib")[0])
        if own < 0.040:
            break
    assert own < 0.040 or own < peer, f"{own:.3f} s, smtplib {peer:.3f} s"
