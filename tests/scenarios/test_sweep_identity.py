"""Sweeps of one configuration in separate directories and stores differ only in times and facts of the hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.scenarios.commands import DATA, Place
from tests.scenarios.sweeping import read_sweep

OF_THE_HOST = {"seconds", "build_time", "started", "host", "hosts"}
"""Fields that may differ: times, durations and facts of the host."""


def without_the_host(value: Any) -> Any:
    """Return a report without its times and facts of the host."""
    if isinstance(value, dict):
        kept = {name: without_the_host(inner) for name, inner in value.items() if name not in OF_THE_HOST}
        if value.get("deterministic") is False:  # an engine is tuned for its machine
            kept.pop("digest")
            kept.pop("size")
        return kept
    return [without_the_host(inner) for inner in value] if isinstance(value, list) else value


def test_two_equal_sweeps_differ_only_in_times_and_places(tmp_path: Path) -> None:
    words = (
        "-m",
        f"model_dir={DATA}/cosyvoice2_tiny",
        "trt=none",
        "precision=fp32,fp16",
        "trt_profile.profiles=[{seq_len: {min: 4, opt: 16, max: 40}}]",
    )
    sweeps = []
    for name in ("a", "b"):
        place = Place(tmp_path / name)
        place.directory.mkdir()
        place.cosybuild(*words)  # the default store is in the working directory, so each sweep has its own
        sweeps.append(read_sweep(place))
    assert without_the_host(sweeps[0]) == without_the_host(sweeps[1])
    assert [cell["figures"]["error"] is not None for cell in sweeps[0]["cells"]] == [True, True]
