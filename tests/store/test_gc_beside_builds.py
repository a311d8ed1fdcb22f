"""gc beside processes that build: it removes nothing that they need."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from cosybuild.store import uses
from cosybuild.store.check import check
from cosybuild.store.gc import collect
from cosybuild.store.store import Store
from tests.building.fakes import Bench, complete, pipeline

BUILDERS = 3
BUILDS = 8


def build_many(path: Path, seed: int) -> None:
    """Run builds whose plans overlap with those of other processes; each reads its results until its end.

    A run that ends early, or an artifact that cannot be placed, is an error.
    """
    chance = random.Random(seed)
    for number in range(BUILDS):
        warnings: list[str] = []
        bench = Bench(Store(path / "store", warn=warnings.append))
        request = {"opset": chance.randrange(3), "rounds": chance.randrange(3), "profile": chance.randrange(4)}
        outcome = bench.build(pipeline(), request)
        assert complete(outcome), outcome.failure
        for record in outcome.records:
            for slot, artifact in record.outputs.items():
                (placed,) = bench.store.checkout(artifact, path / f"run-{seed}-{number}")
                assert placed.read_text().startswith(slot)
        assert warnings == []


@pytest.mark.attack("interrupt", "nothing in use is removed")
def test_gc_beside_builds_removes_nothing_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age limit is seconds instead of an hour, and uses are recorded as often."""
    monkeypatch.setattr(uses, "USE_SECONDS", 0.0)
    builders = []
    for seed in range(BUILDERS):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                build_many(tmp_path, seed)
                code = 0
            finally:
                os._exit(code)
        builders.append(pid)
    removed = 0
    codes = []
    while len(codes) < BUILDERS:
        collected = collect(Store(tmp_path / "store"), grace=GRACE)
        removed += len(collected.entries) + collected.objects
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            codes.append(os.waitstatus_to_exitcode(status))
        time.sleep(0.02)
    assert codes == [0] * BUILDERS
    assert not check(Store(tmp_path / "store"), repair=False).faults
    time.sleep(GRACE + 0.1)
    removed += len(collect(Store(tmp_path / "store"), grace=GRACE).entries)
    assert removed > 0
    assert list(Store(tmp_path / "store").entries()) == []


GRACE = 3.0
"""Seconds; a builder would be affected only if it paused for this time between two steps."""
