"""Estimates of the time, output size and memory of a step, from earlier builds on this machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey

_NEIGHBOURS = 5


@dataclass(frozen=True)
class Expectation:
    """The expected cost of a step, as medians over earlier builds.

    Attributes:
        seconds: the duration of the build.
        bytes: the total size of all outputs.
        peak_bytes: the growth of the process's memory in bytes; None if it was never measured.
        builds: the number of earlier builds.
    """

    seconds: float
    bytes: int
    peak_bytes: int | None
    builds: int


class History:
    """The earlier builds whose entries are in the store. The entries are read at the first estimate.

    Args:
        entries: a function that returns every complete entry of the store.
        host: the name of the host whose builds count; None for this machine.
    """

    def __init__(self, entries: Callable[[], Iterable[Entry]], host: str | None = None) -> None:
        self._read = entries
        self._host = platform.node() if host is None else host

    @cached_property
    def _entries(self) -> dict[str, list[Entry]]:
        by_stage: dict[str, list[Entry]] = {}
        for entry in self._read():
            if entry.made.get("host") == self._host and {"at", "seconds"} <= entry.made.keys():
                by_stage.setdefault(entry.key.stage, []).append(entry)
        return by_stage

    def expect(self, key: CacheKey) -> Expectation | None:
        """Return the median cost of the builds whose keys are most similar to `key`; None if the stage was never built.

        Args:
            key: the key of the step. Parts that are not known yet may be missing; only the parts that it has are
                compared.
        """
        entries = self._entries.get(key.stage)
        if not entries:
            return None

        def distance(entry: Entry) -> int:
            return sum(entry.key.parts.get(name) != value for name, value in key.parts.items())

        newest_first = sorted(entries, key=lambda entry: str(entry.made["at"]), reverse=True)
        least = min(map(distance, entries))
        chosen = [entry for entry in newest_first if distance(entry) == least][:_NEIGHBOURS]
        peaks = [entry.made["peak_bytes"] for entry in chosen if entry.made.get("peak_bytes") is not None]
        return Expectation(
            seconds=float(median(entry.made["seconds"] for entry in chosen)),
            bytes=round(median(sum(artifact.size for artifact in entry.outputs.values()) for entry in chosen)),
            peak_bytes=round(median(peaks)) if peaks else None,
            builds=len(chosen),
        )
