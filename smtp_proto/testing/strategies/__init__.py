"""Hypothesis strategies for all that SMTP and LMTP are made of. Needs Hypothesis, the extra `testing`.

    from hypothesis import given
    from smtp_proto.testing import strategies as smtp

    @given(smtp.mailboxes())
    def test_my_parser(mailbox): ...

What is drawn is a valid value, from all over what the RFCs allow: quoted local parts, address literals,
source routes, parameters that nobody knows, octets that are no text. Only what is called malformed, or an
attack, is not. All of them shrink to the simplest that still fails: a mailbox to `a@a`.
"""

from ._addresses import (
    address_literals,
    client_names,
    domains,
    forward_paths,
    local_parts,
    mailboxes,
    paths,
    reverse_paths,
)
from ._attack import Attack
from ._attacks import ATTACKS, attacks
from ._bodies import messages, plans, splits
from ._commands import commands
from ._dialogue import Dialogue
from ._dialogues import dialogues
from ._features import features
from ._malformed import malformed_commands, malformed_replies
from ._parameters import parameters
from ._replies import challenges, greetings, hellos, refusals, replies, reply_texts

__all__ = [
    "ATTACKS",
    "Attack",
    "Dialogue",
    "address_literals",
    "attacks",
    "challenges",
    "client_names",
    "commands",
    "dialogues",
    "domains",
    "features",
    "forward_paths",
    "greetings",
    "hellos",
    "local_parts",
    "mailboxes",
    "malformed_commands",
    "malformed_replies",
    "messages",
    "parameters",
    "paths",
    "plans",
    "refusals",
    "replies",
    "reply_texts",
    "reverse_paths",
    "splits",
]
