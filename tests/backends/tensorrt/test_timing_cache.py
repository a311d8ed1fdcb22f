"""The file of kernel times, which parallel builds extend."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from cosybuild.backends.tensorrt.timing_cache import TimingCache

BUILDS = 2
KERNELS = 20


class Cache:
    """A stand-in that behaves like ITimingCache: `combine` skips conflicts and refuses another version."""

    def __init__(self, data: bytes) -> None:
        plain = json.loads(data) if data else {"version": 10, "times": {}}
        self.version, self.times = plain["version"], plain["times"]

    def combine(self, other: Cache, ignore_mismatch: bool) -> bool:
        if other.version != self.version and not ignore_mismatch:
            return False
        self.times = {**other.times, **self.times}
        return True

    def serialize(self) -> bytes:
        return json.dumps({"version": self.version, "times": self.times}).encode()


class Config:
    def __init__(self) -> None:
        self.cache: Cache | None = None

    def create_timing_cache(self, data: bytes) -> Cache:
        return Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> None:
        self.cache = cache

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def build(path: Path, number: int, barrier: Any) -> None:
    """Build many times beside another process, so that both time kernels before either saves."""
    for kernel in range(KERNELS):
        config = Config()
        timing = TimingCache(path)
        timing.read_into(config)
        assert config.cache is not None
        config.cache.times[f"{number} {kernel}"] = float(kernel)
        barrier.wait(60)
        timing.update_from(config)


def test_parallel_builds_lose_no_times(tmp_path: Path) -> None:
    path = tmp_path / "timing" / "a.cache"
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(BUILDS)
    processes = [context.Process(target=build, args=(path, number, barrier)) for number in range(BUILDS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * BUILDS
    assert set(Cache(path.read_bytes()).times) == {f"{n} {k}" for n in range(BUILDS) for k in range(KERNELS)}


def test_a_file_of_another_version_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    path.write_bytes(json.dumps({"version": 9, "times": {"old": 1.0}}).encode())
    config = Config()
    config.set_timing_cache(Cache(b""), False)
    assert config.cache is not None
    config.cache.times["new"] = 2.0
    TimingCache(path).update_from(config)
    assert Cache(path.read_bytes()).times == {"new": 2.0}


@pytest.mark.parametrize("known", [False, True])
def test_a_builder_without_a_cache_does_not_change_the_file(tmp_path: Path, known: bool) -> None:
    path = tmp_path / "a.cache"
    if known:
        path.write_bytes(b"times")
    TimingCache(path).update_from(Config())
    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([b"times"] if known else [])
