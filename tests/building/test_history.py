"""Expectations: the median of the most similar earlier builds on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cosybuild.building.history import Expectation, History
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey
from tests.building.fakes import Bench, pipeline


def entry(
    seconds: float, size: int = 10, host: str = "here", peak: int | None = 5, at: str = "2026", **parts: str
) -> Entry:
    files = (StoredFile("a", Path("a"), "0" * 64, size), StoredFile("b", Path("b"), "1" * 64, size))
    made = {"at": at, "seconds": seconds, "peak_bytes": peak, "host": host}
    return Entry(CacheKey("export", parts), {"graph": Artifact("graph", files)}, {}, made)


def test_without_history_there_is_no_expectation() -> None:
    assert History(lambda: [], "here").expect(CacheKey("export", {})) is None
    assert History(lambda: [entry(1.0, host="elsewhere")], "here").expect(CacheKey("export", {})) is None
    assert History(lambda: [entry(1.0)], "here").expect(CacheKey("engine", {})) is None


def test_the_expectation_is_the_median_of_the_nearest_builds() -> None:
    entries = [
        entry(1.0, opset="17", dynamo="no"),
        entry(90.0, opset="17", dynamo="yes"),
        entry(110.0, opset="18", dynamo="yes"),
    ]
    history = History(lambda: entries, "here")
    assert history.expect(CacheKey("export", {"opset": "20", "dynamo": "yes"})) == Expectation(100.0, 20, 5, 2)
    assert history.expect(CacheKey("export", {"dynamo": "no"})) == Expectation(1.0, 20, 5, 1)
    assert history.expect(CacheKey("export", {"opset": "18", "dynamo": "no"})) == Expectation(55.5, 20, 5, 2)


def test_of_many_equal_builds_the_five_newest_are_used() -> None:
    entries = [entry(float(n), at=f"2026-01-{n:02}", peak=None) for n in range(1, 10)]
    assert History(lambda: entries, "here").expect(CacheKey("export", {})) == Expectation(7.0, 20, None, 5)


def test_a_plan_of_hits_reads_no_history(bench: Bench) -> None:
    bench.build(pipeline())

    def forbidden() -> Iterator[Entry]:
        raise AssertionError("the entries were read")

    bench.store.entries = forbidden  # type: ignore[method-assign]  # reading is what must not happen
    assert bench.plan(pipeline()).up_to_date


def test_a_plan_has_the_expected_cost_of_each_step(bench: Bench) -> None:
    outcome = bench.build(pipeline(), {"profile": "default"})
    plan = bench.plan(pipeline(), {"profile": "long", "opset": 17})
    expected = plan.step("engine").expected
    made = outcome.record("engine")
    assert expected is not None
    assert (expected.seconds, expected.bytes) == (made.made["seconds"], made.outputs["engine"].size)
    assert plan.expected_seconds == sum(r.made["seconds"] for r in outcome.records)
