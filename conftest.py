"""The Python examples of README.md and docs/ are tests: each document runs from top to bottom."""

from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

# What an earlier run has found decides nothing.
settings.register_profile("documents", derandomize=True, deadline=None, database=None)
settings.load_profile("documents")

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()
