"""Holding every rule of the table against a server."""

from __future__ import annotations

from importlib.util import find_spec

from ._rules import Verdict
from ._server_ledger import Budget, Exhausted, Ledger
from ._server_options import ServerOptions
from ._server_probes import probes, run_probe
from ._server_visit import Check, Connect

_NOTHING_ALLOWED = ServerOptions()


def check_server(connect: Connect, options: ServerOptions = _NOTHING_ALLOWED) -> list[Verdict]:
    """Hold every rule of `SERVER_RULES` against a server: one verdict for each, in their order.

    `connect`: makes a new connection each time, a `Stream`. `options`: what the check may do, and how far
    it may go.

    Short dialogues that are always the same come first, then random sessions, which Hypothesis makes smaller
    where they show something. Two runs ask the same.

    Whatever the server does becomes a verdict. Raises what `connect` raises the first time; when it fails
    later, the rest is not asked.
    """
    check = Check(connect, options, Ledger(), Budget(options))
    try:
        _ask(check)
    except Exhausted as exc:
        check.ledger.stopped = str(exc)
    return check.ledger.verdicts(options)


def _ask(check: Check) -> None:
    for probe in probes():
        run_probe(check, probe)
    if check.options.examples > 0 and find_spec("hypothesis"):
        from ._server_machine import run_at_random

        run_at_random(check)
