"""What it costs to have a library: the time of its import, its size, what it needs."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib.metadata import distribution, files
from importlib.util import find_spec
from pathlib import Path

from .worker import Job


def importing(job: Job) -> dict[str, float]:
    """The CPU time of an interpreter that imports this, and of one that imports nothing."""
    spent = [cost(f"import {module}") for module in ("sys", job.name)]
    return {"cpu": spent[1] - spent[0]}


def cost(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Isolated: the environment must not forbid what every user has, compiled modules.
    subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", statement], check=True, timeout=30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(job: Job) -> dict[str, float]:
    """Octets of source of what is installed, and how many distributions it requires. `mode`: `core` alone."""
    if job.name == "smtp-proto":
        folders = [
            Path(find_spec(name).submodule_search_locations[0]) for name in ("smtp_proto", "smtp_transports")
        ]
        paths = [
            path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".css", ".eml")
        ]
        if job.mode == "core":
            paths = [path for path in paths if path.parent == folders[0]]
    else:
        paths = [Path(str(file.locate())) for file in files(job.name) or [] if file.suffix == ".py"]
    return {"octets": sum(path.stat().st_size for path in paths), "dependencies": len(required(job.name))}


def required(name: str) -> set[str]:
    """All distributions that are installed with it, whatever its extras."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    to_see = [name]
    while to_see:
        for line in distribution(to_see.pop()).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                to_see += {requirement.name} - found
                found.add(requirement.name)
    return found
