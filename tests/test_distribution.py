"""What is given to others: the archives hold what they should, and the wheel is enough to send mail in an
environment where nothing else is installed.
"""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"smtp_proto": ROOT / "smtp_proto", "smtp_transports": ROOT / "transports" / "smtp_transports"}

# Public modules that need more than the wheel, and what they need of what an extra brings.
NEED_MORE = {
    "smtp_proto.testing.strategies": "hypothesis",
    "smtp_transports.gevent": "gevent",
    "smtp_transports.pytest_plugin": "pytest",
    "smtp_transports.trio": "trio",
}


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command prints. It must not fail."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    for tool in ("build", "hatchling"):
        pytest.importorskip(tool, reason=f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def in_wheel(archives: tuple[Path, Path]) -> dict[str, bytes]:
    with zipfile.ZipFile(archives[1]) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def metadata(in_wheel: dict[str, bytes]) -> Message:
    (octets,) = (octets for name, octets in in_wheel.items() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(octets)


@pytest.fixture(scope="module")
def empty(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
        *("--python", programs / "python", "install", "--no-index", archives[1]),
    )
    return programs


def test_the_wheel_holds_both_packages_and_nothing_else(in_wheel: dict[str, bytes]) -> None:
    for package, folder in PACKAGES.items():
        files = {
            f"{package}/{path.relative_to(folder).as_posix()}"
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert {name for name in in_wheel if name.startswith(package + "/")} == files
        assert f"{package}/py.typed" in files
    rest = {name.partition("/")[0] for name in in_wheel} - PACKAGES.keys()
    assert len(rest) == 1
    assert rest.pop().endswith(".dist-info")


def test_who_has_the_sdist_can_run_the_tests(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"conftest.py", "pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    for folder in ("tests", "docs", "examples"):
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*.[pm][yd]")
            if ".hypothesis" not in path.parts
        }
        assert files <= names


def test_nothing_is_required_unless_an_extra_is_asked_for(metadata: Message) -> None:
    extras = metadata.get_all("Provides-Extra", [])
    for requirement in metadata.get_all("Requires-Dist", []):
        assert any(requirement.endswith(f"extra == '{extra}'") for extra in extras), requirement


def test_the_metadata_say_what_the_project_is(metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    version = ".".join(map(str, sys.version_info[:2]))
    assert f"Programming Language :: Python :: {version}" in classifiers


def test_the_wheel_alone_sends_mail(empty: Path, tmp_path: Path) -> None:
    assert "What arrived is what was sent" in run(empty / "smtp-proto", "demo", cwd=tmp_path)


def test_the_wheel_alone_can_be_imported(empty: Path, in_wheel: dict[str, bytes], tmp_path: Path) -> None:
    files = [name for name in in_wheel if name.endswith(".py") and "/_" not in name.replace("/__init__", "")]
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    assert NEED_MORE.keys() < set(modules)
    program = f"""
import importlib
for name in {modules}:
    try:
        importlib.import_module(name)
    except ImportError as exc:
        print(name, exc.name)
"""
    failed = run(empty / "python", "-I", "-W", "error", "-c", program, cwd=tmp_path).splitlines()
    assert dict(line.split() for line in failed) == NEED_MORE
