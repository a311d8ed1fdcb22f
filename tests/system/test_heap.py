"""Freed memory returns to the system, although a block above it is still in use."""

from __future__ import annotations

import gc
import sys

import pytest

from cosybuild.building.stage import RunContext
from cosybuild.store.result import StageResult
from cosybuild.system import memory
from cosybuild.system.heap import _malloc_trim, collect_by_default, collect_rarely, trim_heap
from tests.building.fakes import Bench, FakeStage

MIB = 1 << 20
glibc = pytest.mark.skipif(
    sys.platform != "linux" or _malloc_trim() is None, reason="only glibc keeps blocks and can be told not to"
)


def fragmented(size: int) -> bytes:
    """Allocate small blocks until the process has grown by this number of bytes, free all but the last, and return it.

    Blocks that earlier tests freed are filled first, and the process does not grow by them.
    """
    blocks: list[bytes] = []
    goal = resident() + size
    while resident() < goal:
        blocks += [bytes(1000) for _ in range(10_000)]
    last = blocks.pop()
    blocks.clear()
    return last


def resident() -> int:
    found = memory._resident()
    assert found is not None
    return found


@glibc
def test_freed_blocks_below_a_block_in_use_are_returned() -> None:
    trim_heap()
    before = resident()
    kept = fragmented(128 * MIB)
    held = resident() - before
    assert held > 100 * MIB  # without the call glibc keeps them, else the test would show nothing
    trim_heap()
    assert resident() - before < 32 * MIB
    assert len(kept) == 1000


@glibc
def test_a_step_begins_without_the_memory_that_the_step_before_freed(bench: Bench) -> None:
    kept: list[bytes] = []
    found: list[int] = []

    def wasteful(context: RunContext) -> StageResult:
        found.append(resident())
        kept.append(fragmented(128 * MIB))
        found.append(resident())
        return export.write(context, "graph")

    def next_one(context: RunContext) -> StageResult:
        found.append(resident())
        return verify.write(context, "passed")

    export = FakeStage("export", makes=("graph",), work=wasteful)
    verify = FakeStage("verify", needs=("graph",), makes=("verification",), work=next_one)
    bench.build([export, verify])
    before, behind, at_next = found
    assert behind - before > 100 * MIB
    assert at_next - before < 32 * MIB


def test_the_usual_collection_of_cycles_is_restored() -> None:
    usual = gc.get_threshold()
    collect_rarely()
    try:
        assert gc.get_threshold() > usual
    finally:
        collect_by_default()
    assert gc.get_threshold() == usual


def test_a_system_without_the_call_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _malloc_trim.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _malloc_trim() is None
    trim_heap()
    _malloc_trim.cache_clear()
