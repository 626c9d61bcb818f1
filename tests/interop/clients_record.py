"""Records the sessions of `clients_dialogues` anew, all or those that are named as arguments.

Their clients have to be there, as `make interop` brings them. Look at what has changed then.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from clients_dialogues import DIALOGUES, TRANSCRIPTS, Dialogue, Trusting, text_of
from clients_dovecot import Relay
from clients_ours import running, write_certificates
from clients_postfix import Sender
from clients_programs import MODULES
from loops import LOOPS

VERSIONS = {
    "swaks": ["swaks", "--version"],
    "msmtp": ["msmtp", "--version"],
    "curl": ["curl", "--version"],
    "git send-email": ["git", "--version"],
    "smtplib": [sys.executable, "--version"],
    "aiosmtplib": [sys.executable, "-c", "import aiosmtplib; print(aiosmtplib.__version__)"],
    "nodemailer": ["node", "-p", f"require('{MODULES}/nodemailer/package.json').version"],
}


@contextmanager
def client(dialogue: Dialogue, folder: Path) -> Iterator[tuple[str, Any, Path, dict[str, Any]]]:
    """Its name and version, what is to talk, the folder of the server, and where that has to listen."""
    if dialogue.client == "Postfix":
        with Sender() as sender:
            own = sender.folder / "ours"
            where = {} if dialogue.way == "unix" else {"port": sender.places[dialogue.way]}
            yield "Postfix 3.7", sender, own, where
    elif dialogue.client == "Dovecot":
        with Relay(dialogue.way) as relay:
            yield "Dovecot 2.3", relay, folder, {"port": relay.port}
    else:
        shown = subprocess.run(VERSIONS[dialogue.client], capture_output=True, text=True, check=True).stdout
        number = re.search(r"\d[\d.]+\d", shown)
        yield f"{dialogue.client} {number and number[0]}", None, folder, {}


def record(dialogue: Dialogue, folder: Path) -> str:
    """Have the session, and write it down."""
    postbox, loop = Trusting(), LOOPS["blocking"]()
    with client(dialogue, folder) as (version, who, own, where):
        write_certificates(own)
        options = {"auth": dialogue.auth, "limits": dialogue.limits, **where}
        with running(loop, own, postbox, dialogue.way, **options) as server:
            if dialogue.way == "unix":
                os.chmod(server.place.address, 0o777)
            dialogue.talk(who or server)
    loop.close()
    (recording,) = server.recordings
    return text_of(version, recording, postbox.messages)


def main(names: list[str]) -> None:
    TRANSCRIPTS.mkdir(parents=True, exist_ok=True)
    for name in names or DIALOGUES:
        with tempfile.TemporaryDirectory() as folder:
            (TRANSCRIPTS / f"{name}.txt").write_text(record(DIALOGUES[name], Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
