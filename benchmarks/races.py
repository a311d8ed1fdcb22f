"""Let four processes build at the same moment in one store, and count how often each key was built.

    python benchmarks/races.py [rounds] [seed]

In half of the rounds all four have the same plan; in the others the plans overlap: the same export, other
verifications, one without simplification. Each has its own working directory; the store is new in each round.
Processes are forked (see `builds.py`), so that they run at the same time. A key was built as often as the four
`events.jsonl` say that its step started; the reports must agree with them, and all four must deliver right files.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import builds

from cosybuild.store.check import check
from cosybuild.store.store import Store

RACERS = 4
OVERLAPPING = (
    [],
    ["verify.seed=1"],
    ["simplify=none"],
    ["verify=off"],
    ["verify.rtol=0.02", "simplify.rounds=2"],
    ["export=opset20"],
)


def race(base: Path, plans: list[list[str]], chance: random.Random) -> list[Path]:
    """Run all plans at once in one store, and return the directory of each."""
    gate, held = os.pipe()

    def go(pause: float) -> None:
        os.close(held)
        os.read(gate, 1)  # returns when no process has the other end open: all have been forked
        time.sleep(pause)

    places, racers = [], []
    for number, words in enumerate(plans):
        place = base / f"racer-{number}"
        place.mkdir()
        places.append(place)
        pause = chance.choice((0.0, chance.uniform(0, 0.5)))
        racers.append(builds.start(place, words, base / f"log-{number}", ready=partial(go, pause)))
    os.close(gate)
    os.close(held)
    for racer in racers:
        assert racer.wait() == 0, racer.log.read_text()
    return places


def built_in(place: Path) -> list[str]:
    """Return the digests of the keys that were built there, from the events; the report must have the same."""
    report = builds.report_of(place)
    (log,) = place.glob("outputs/runs/*/events.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    started = [event["step"] for event in events if event["kind"] == "started"]
    assert started == [step["label"] for step in report["steps"] if step["action"] == "built"]
    keys = {step["label"]: step["key"]["digest"] for step in report["steps"]}
    return [keys[label] for label in started]


def run(rounds: int, seed: int) -> dict[str, int]:
    """Race `rounds` times, and count the events.

    Raises:
        AssertionError: a key was built twice or never, or a process delivered other files.
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    known: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary).resolve()
        first = [f"model_dir={builds.make_model(base / 'model')}", *builds.SETTINGS]
        for number in range(rounds):
            here = base / f"round-{number}"
            here.mkdir()
            same = number % 2 == 0
            variants = [chance.choice(OVERLAPPING)] * RACERS if same else chance.sample(OVERLAPPING, RACERS)
            store = f"store.path={here / 'store'}"
            places = race(here, [[*first, store, *variant] for variant in variants], chance)
            reports = [builds.report_of(place) for place in places]
            wanted = {step["key"]["digest"] for report in reports for step in report["steps"]}
            built = Counter(key for place in places for key in built_in(place))
            assert built == Counter(wanted), f"round {number}: {built}"
            for report in reports:
                for key, outputs in builds.results_of(report).items():
                    assert known.setdefault(key, outputs) == outputs, f"round {number}: {key} came out different"
            assert not check(Store(here / "store"), repair=False).faults
            counts["same plan" if same else "overlapping plans"] += 1
            counts["keys"] += len(wanted)
            counts["built"] += sum(built.values())
            counts["taken from another"] += sum(len(r["steps"]) for r in reports) - sum(built.values())
            counts["waited for another"] += sum(
                '"waiting"' in log.read_text(encoding="utf-8") for log in here.glob("*/outputs/runs/*/events.jsonl")
            )
            shutil.rmtree(here)
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {"rounds": rounds, **dict(sorted(counts.items()))}


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    print(json.dumps(run(*[*words, *(50, 0)[len(words) :]]), indent=1))
