"""Many threads on few contexts: the results equal those of one thread, even if some calls fail."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosybuild.errors import CosybuildError
from cosybuild.runtime import load_estimator
from tests.runtime.tiny import inputs

THREADS, CALLS, LENGTHS = 8, 200, tuple(range(4, 60, 3))


def _wrong(frames: int, how: int) -> dict[str, Tensor]:
    """Make a call that fails before it takes a context (0, 1) or during the run (2)."""
    given = inputs(frames)
    if how == 0:
        return inputs(frames, batch=3)
    if how == 1:
        return {**given, "mask": torch.ones(2, 1, frames + 1)}
    return {**given, "spks": torch.ones(2, 5)}


def test_eight_threads_on_two_contexts_give_the_results_of_one_thread(graphs: dict[str, Path]) -> None:
    estimator = load_estimator(graphs["cosyvoice2"], concurrency=2, timeout=120, threads=1)
    calls = {frames: inputs(frames, seed=frames) for frames in LENGTHS}
    expected = {frames: estimator(**given) for frames, given in calls.items()}
    faults: list[str] = []
    refused = [0] * THREADS

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(CALLS):
            frames = chance.choice(LENGTHS)
            if chance.random() < 0.1:
                try:
                    estimator(**_wrong(frames, chance.randrange(3)))
                    faults.append("a wrong call was answered")
                except CosybuildError:
                    refused[number] += 1
            elif not torch.equal(estimator(**calls[frames]), expected[frames]):
                faults.append(f"another result for {frames} frames")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []
    assert min(refused) > 0


def test_a_failed_run_returns_its_context(graphs: dict[str, Path]) -> None:
    estimator = load_estimator(graphs["cosyvoice2"], concurrency=1, timeout=5)
    with estimator.served[0].slots.lend() as slot:
        context = slot.context
    working = context._driver

    class Failing:
        def run(self, *_: object) -> None:
            raise RuntimeError("the device is gone")

    given = inputs(20)
    expected = estimator(**given)
    for _ in range(3):
        context._driver = Failing()
        with pytest.raises(RuntimeError, match="the device is gone"):
            estimator(**given)
        context._driver = working
        assert torch.equal(estimator(**given), expected)
