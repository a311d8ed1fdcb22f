"""Kill real builds at random moments (SIGKILL), and compare the results with those of undisturbed builds.

    python benchmarks/kills.py [rounds] [seed]

A round is one build that was killed before its end, and the same command after it. Half of the rounds
begin with an empty store; the others begin where an earlier one ended, without the run directory, or without the
results of a few steps. Every tenth build is a whole process, the others are forked (see `builds.py`), so that nearly
all moments lie in the build itself.

After the kill, every entry of the store must be complete and right. The next run must succeed and make the same
files as an undisturbed build, the store must have no damage, and no files of the killed process may be left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import builds

from cosybuild.store.check import check
from cosybuild.store.store import Store

VARIANTS = (
    [],
    ["export=opset20"],
    ["simplify=none", "verify.seed=1"],
    ["export.constant_folding=false", "verify=off"],
)


class Rounds:
    """The state that is kept from one round to the next.

    Args:
        base: an empty directory for all rounds.
        chance: the source of all random numbers.
    """

    def __init__(self, base: Path, chance: random.Random) -> None:
        self.base = base
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        model = builds.make_model(base / "model")
        self.commands = [[f"model_dir={model}", *builds.SETTINGS, *variant] for variant in VARIANTS]
        self.results: dict[str, dict[str, list[str]]] = {}
        self.artifacts: list[dict[str, str]] = []
        for number, words in enumerate(self.commands):
            place = self._place(f"in-peace-{number}")
            begin = time.monotonic()
            assert builds.start(place, words, base / "log").wait() == 0, (base / "log").read_text()
            self.seconds["forked"] = time.monotonic() - begin
            self.results.update(builds.results_of(builds.report_of(place)))
            self.artifacts.append(artifacts_of(place))
        self.seconds["whole"] = self.seconds["forked"] + 5.0
        self.old: tuple[Path, int] | None = None

    def round(self, number: int) -> None:
        """Start builds until one is killed before its end, and finish that one."""
        while True:
            place, variant = self._ground(number)
            kind = "whole" if self.chance.random() < 0.1 else "forked"
            if self._kill(place, self.commands[variant], kind):
                break
            if self.old is None or self.old[0] != place:
                shutil.rmtree(place)
        self.counts[f"killed: {kind}"] += 1
        self.counts[f"killed {where(place)}"] += 1
        self._nothing_wrong(place)
        self._finish(place, variant)
        if self.old is not None and self.old[0] != place:
            shutil.rmtree(self.old[0])
        self.old = place, variant

    def _ground(self, number: int) -> tuple[Path, int]:
        """Choose the initial state of a build; return its directory and command."""
        if self.old is None or self.chance.random() < 0.5:
            self.counts["from nothing"] += 1
            return self._place(f"round-{number}-{self.chance.getrandbits(32):x}"), self.chance.randrange(len(VARIANTS))
        place, variant = self.old
        if self.chance.random() < 0.3:
            shutil.rmtree(place / "outputs" / "runs")
            self.counts["only the run directory missing"] += 1
        else:
            kinds = sorted((place / "outputs" / "store" / "entries").iterdir())
            for gone in self.chance.sample(kinds, self.chance.randint(1, len(kinds))):
                shutil.rmtree(gone)
            self.counts["some steps missing"] += 1
        return place, variant

    def _kill(self, place: Path, words: list[str], kind: str) -> bool:
        """Return True if the build was killed before its end."""
        moment = self.chance.uniform(0, self.seconds[kind])
        log = self.base / "log"
        for events in place.glob("outputs/runs/*/events.jsonl"):
            events.unlink()  # events of the earlier run; `where` must read those of this one
        build = (builds.start if kind == "forked" else builds.start_whole)(place, words, log)
        time.sleep(moment)
        finished = build.ended()
        if not finished:
            os.kill(build.pid, signal.SIGKILL)
        code = build.wait()
        # Adapt the times of the kills to the load of this machine.
        self.seconds[kind] = max(0.2, self.seconds[kind] * (0.8 if code == 0 else 1.05))
        if code == 0:
            self.counts["too late, not counted"] += 1
            return False
        assert code == -signal.SIGKILL, f"ended with {code} before the kill:\n{log.read_text()}"
        return True

    def _nothing_wrong(self, place: Path) -> None:
        """Check that every entry is complete and right, before any repair."""
        if not (place / "outputs" / "store").is_dir():
            return
        store = Store(place / "outputs" / "store")
        faults = check(store, repair=False).faults
        assert not faults, faults
        for entry in store.entries():
            outputs = {slot: [file.digest for file in artifact.files] for slot, artifact in entry.outputs.items()}
            outputs = {} if entry.key.stage in builds.VARYING else outputs
            assert outputs == self.results[entry.key.digest], f"{entry.key.stage} is complete and wrong"
            self.counts["entries checked after a kill"] += 1

    def _finish(self, place: Path, variant: int) -> None:
        """Check that the next run succeeds and that all its results are right."""
        log = self.base / "log"
        starter = builds.start_whole if self.chance.random() < 0.1 else builds.start
        code = starter(place, self.commands[variant], log).wait()
        assert code == 0, f"the next run ended with {code}:\n{log.read_text()}"
        report = builds.report_of(place)
        assert report["status"] == "ok"
        made = builds.results_of(report)
        assert made == {key: self.results[key] for key in made}
        assert artifacts_of(place) == self.artifacts[variant]
        store = Store(place / "outputs" / "store")
        assert not check(store, repair=False).faults
        assert not [path for path in store.layout.tmp.iterdir() if path.is_dir()], "a working directory was left"
        assert not list(store.layout.locks.rglob("*.*")), "a lock was left"
        strays = [p for p in place.rglob("*") if p.name.endswith((".tmp", ".part")) or p.name.startswith(".cosybuild-")]
        # A file of a few bytes does not name its process, so the store removes it only after an hour.
        assert all(path.parent == store.layout.tmp for path in strays), strays
        for step in report["steps"]:
            self.counts[f"next run: {step['action']}"] += 1

    def _place(self, name: str) -> Path:
        place = self.base / name
        place.mkdir()
        return place


def artifacts_of(place: Path) -> dict[str, str]:
    """Return name -> digest, computed from the files."""
    from cosybuild.digest import digest_of

    (directory,) = place.glob("outputs/runs/*/artifacts")
    return {path.name: digest_of(path) for path in directory.iterdir() if not path.name.endswith(".json")}


def where(place: Path) -> str:
    """Return the activity of a killed build, from its events."""
    logs = list(place.glob("outputs/runs/*/events.jsonl"))
    if not logs:
        return "before planning"
    events = [json.loads(line) for line in logs[0].read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    started = [event["step"] for event in events if event["kind"] == "started"]
    ended = [event["step"] for event in events if event["kind"] in ("finished", "cached")]
    under_way = [step for step in started if step not in ended]
    return f"in {under_way[0]}" if under_way else "between steps or while delivering"


def run(rounds: int, seed: int) -> dict[str, int]:
    """Kill `rounds` builds, and count the events.

    Raises:
        AssertionError: a complete entry was wrong, or a next run did not succeed.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        all_rounds = Rounds(Path(base).resolve(), random.Random(seed))
        for number in range(rounds):
            all_rounds.round(number)
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {"rounds": rounds, **dict(sorted(all_rounds.counts.items()))}


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    print(json.dumps(run(*[*words, *(200, 0)[len(words) :]]), indent=1))
