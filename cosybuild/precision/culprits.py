"""The smallest set of units that must be given back for a predicate to hold, in about two binary searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Unit = TypeVar("Unit", bound=Hashable)

Passes = Callable[[frozenset[Unit]], bool]


@dataclass(frozen=True)
class Culprits(Generic[Unit]):
    """What was found.

    Attributes:
        units: given back together they pass; in the order in which they were searched.
        evaluations: sets that were tried.
        minimal: without any one of them it fails. False where the limit came first; then `units` passes, and may
            hold more than it must.
    """

    units: tuple[Unit, ...]
    evaluations: int
    minimal: bool


def promised(units: int) -> float:
    """Evaluations that one culprit, or two wherever they are, stay below: 2 log2(units) + 10."""
    return 2 * math.log2(max(1, units)) + 10


def find_culprits(
    units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int
) -> Culprits[Unit] | None:
    """A minimal set that passes.

    Units are put in order, group by group. The shortest prefix that passes is found by binary search: its last
    unit is needed, given those before it. With that one held, the same again in what lies before, until the held
    ones pass alone. So k culprits take about k log2(n) evaluations, where delta debugging takes up to k^2; culprits
    of one group, which lie side by side, take two or three each, since the group's own beginning is tried first.

    That is exact where giving back more never hurts. Lowering is not quite so: a cast more is a rounding more. So at
    the end every unit is left out once, and stays out if it passes without.

    Args:
        units: all that can be given back, in the order of the graph.
        groups: of each unit, e.g. its module.
        passes: whether giving back this set is enough. It is asked once for each set.
        limit: evaluations. After half of them whole groups are given back at once.

    Returns:
        The empty set where nothing need be given back; None where not even all are enough.
    """
    return _Search(units, groups, passes, limit).run()


class _Spent(Exception):
    """The limit is reached."""


class _Search(Generic[Unit]):
    def __init__(self, units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int) -> None:
        rank = {group: index for index, group in reversed(list(enumerate(groups)))}
        self._order = [unit for _, unit in sorted(zip(groups, units, strict=True), key=lambda pair: rank[pair[0]])]
        self._groups = sorted(groups, key=lambda group: rank[group])
        self._passes = passes
        self._limit = limit
        self._asked: dict[frozenset[Unit], bool] = {}
        self._held: list[Unit] = []
        self._end = len(units)  # the prefix that, with the held ones, is known to pass
        self._whole = False

    def run(self) -> Culprits[Unit] | None:
        if self._ask(()):
            return self._answer(minimal=True)
        if not self._ask(self._order):
            return None
        try:
            self._collect()
            if not self._whole:
                self._leave_out()
        except _Spent:
            self._held += [unit for unit in self._order[: self._end] if unit not in self._held]
            return self._answer(minimal=False)
        return self._answer(minimal=not self._whole)

    def _collect(self) -> None:
        low, adjacent = 0, False
        while True:
            self._end = self._shortest(low, self._end, adjacent) - 1
            self._held.append(self._order[self._end])
            start = self._groups.index(self._groups[self._end])
            if len(self._asked) > self._limit // 2 and start < self._end:
                self._held += self._order[start : self._end]
                self._end, self._whole = start, True
            if start < self._end:
                if not self._prefix(start):
                    low, adjacent = start, True  # there is another one in this group
                    continue
                self._end = start
            if self._prefix(0):
                self._end = 0
                return
            low, adjacent = 0, False

    def _shortest(self, low: int, high: int, adjacent: bool) -> int:
        """The length of the shortest passing prefix; `low` is known to fail and `high` to pass."""
        middle = high - 1 if adjacent else (low + high) // 2
        while high - low > 1:
            if self._prefix(middle):
                self._end = high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return high

    def _leave_out(self) -> None:
        """Until none can be left out; a single one cannot, since the empty set is known to fail."""
        left = list(self._held)
        while left and len(self._held) > 1:
            unit = left.pop(0)
            rest = [other for other in self._held if other != unit]
            if self._ask(rest):
                self._held, left = rest, list(rest)

    def _prefix(self, length: int) -> bool:
        return self._ask([*self._order[:length], *self._held])

    def _ask(self, units: Sequence[Unit]) -> bool:
        asked = frozenset(units)
        if asked not in self._asked:
            if len(self._asked) >= self._limit:
                raise _Spent
            self._asked[asked] = self._passes(asked)
        return self._asked[asked]

    def _answer(self, *, minimal: bool) -> Culprits[Unit]:
        held = set(self._held)
        return Culprits(tuple(u for u in self._order if u in held), len(self._asked), minimal)
