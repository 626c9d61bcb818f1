"""For those who test software that speaks SMTP or LMTP. No I/O but on what is passed in.

Pair(client, server, plan)            both ends in memory, octets travel as planned
ScriptedPeer(script, plays=...)       a peer that follows a dialogue written as text
play(script, sock, plays=...)         the same over a socket
FaultyStream(stream, *faults)         a network that cuts, waits, repeats and makes up
strategies                            what Hypothesis draws: a module of its own, which needs it
conformance                           the rules of the RFCs, held against anybody's server or client
"""

from ._faults import (
    AsyncFaultyStream,
    Cut,
    Delay,
    Direction,
    Duplicate,
    Fault,
    FaultyStream,
    Flood,
    HalfClose,
    Inject,
    Reset,
    Split,
)
from ._pair import Deadlock, Pair, Plan
from ._script import Role, Script, ScriptedPeer, ScriptMismatch, Step, play

__all__ = [
    "AsyncFaultyStream",
    "Cut",
    "Deadlock",
    "Delay",
    "Direction",
    "Duplicate",
    "Fault",
    "FaultyStream",
    "Flood",
    "HalfClose",
    "Inject",
    "Pair",
    "Plan",
    "Reset",
    "Role",
    "Script",
    "ScriptMismatch",
    "ScriptedPeer",
    "Split",
    "Step",
    "play",
]
