"""Several processes with equal or overlapping plans build every key exactly once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CODE = """
import sys
from pathlib import Path
from cosybuild.store.store import Store
from tests.building.fakes import Bench, complete, pipeline
store, log, profile = sys.argv[1:]
changes = {name: {"log": Path(log)} for name in ("export", "simplify", "verify", "engine")}
print("ready", flush=True)
sys.stdin.readline()
outcome = Bench(Store(Path(store))).build(pipeline(**changes), {"opset": 18, "profile": profile})
assert complete(outcome), outcome
print(",".join(record.action for record in outcome.records))
"""


@pytest.mark.parametrize("profiles", [["a"] * 4, ["a", "b", "a", "b"], ["a", "b", "c", "d"]])
def test_four_processes_build_each_key_once(tmp_path: Path, profiles: list[str]) -> None:
    root = Path(__file__).parents[2]
    log = tmp_path / "log"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(tmp_path / "store"), str(log), profile],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for profile in profiles
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    answers = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        answers.append(racer.communicate(timeout=300)[0].strip().split(","))
        assert racer.returncode == 0
    different = len(set(profiles))
    assert Counter(log.read_text().split()) == {"export": 1, "simplify": 1, "verify": different, "engine": different}
    assert Counter(action for answer in answers for action in answer) == {
        "built": 2 + 2 * different,
        "hit": 4 * 4 - 2 - 2 * different,
    }
