"""What real servers said once, said again without them: our client says the same, and is told the same,
however their octets are cut.
"""

from __future__ import annotations

import json

import pytest
from scenes import FOLDER, SCENES, Replay, told_by

from smtp_proto.testing import Script


def test_each_scene_has_its_transcript() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == SCENES.keys()


@pytest.mark.parametrize("name", SCENES)
def test_what_was_said_is_said_again(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    expected = json.loads(text.partition("\n")[0].removeprefix("# "))
    script, (_, scene) = Script.parse(text), SCENES[name]
    size = longest = 1 << 30
    while size > 0:
        stream = Replay(script, size)
        assert told_by(scene, stream) == expected, f"in pieces of {size} octets"
        assert stream.is_finished
        longest = min(longest, stream.longest)
        size = min(size, longest + 1) - 1
