"""Bisection: finds a minimal set of units (nodes of a graph) that must stay in fp32 for a predicate to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Unit = TypeVar("Unit", bound=Hashable)

Passes = Callable[[frozenset[Unit]], bool]


@dataclass(frozen=True)
class Bisection(Generic[Unit]):
    """The result of `bisect`.

    Attributes:
        units: a set of units that passes, in the order of the search.
        evaluations: number of sets that were evaluated.
        minimal: True if the set fails without any one of its units. False if the limit shortened the search; then the
            set passes, but may contain unnecessary units.
    """

    units: tuple[Unit, ...]
    evaluations: int
    minimal: bool


def evaluation_bound(units: int) -> float:
    """Return an upper bound on the evaluations if one or two of `units` units are necessary: 2 log2(units) + 10."""
    return 2 * math.log2(max(1, units)) + 10


def bisect(
    units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int
) -> Bisection[Unit] | None:
    """Find a minimal set of units that passes.

    The units are ordered group by group. A binary search finds the shortest prefix that passes. The last unit of this
    prefix is necessary, and becomes part of the result. Then the search repeats in the prefix before that unit, and
    every set that it tries also contains the result so far. It ends when the result alone passes. So k necessary units
    take about k log2(n) evaluations, while delta debugging takes up to k^2. Several necessary units of one group are
    adjacent in the order. So after the search has found a unit, it first tries to leave out the rest of the unit's
    group. If this fails, it tries the neighbour next. Such a unit takes two or three evaluations.

    The result is minimal if every superset of a passing set passes. In lowering this does not always hold, because a
    further unit in float32 adds casts, which round. Therefore, at the end, each unit is left out of the result once. If
    the set passes without the unit, the unit is removed.

    Args:
        units: all units that can stay in fp32, in graph order.
        groups: the group of each unit, e.g. its module.
        passes: function that returns True if a set of units is sufficient. It is called once for each set.
        limit: largest number of evaluations. After half of them, whole groups are added at once.

    Returns:
        The set, empty if no unit is necessary; None if even all units together are not sufficient.
    """
    return _Search(units, groups, passes, limit).run()


class _Spent(Exception):
    """Raised inside the search when the limit of evaluations is reached."""


class _Search(Generic[Unit]):
    def __init__(self, units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int) -> None:
        rank = {group: index for index, group in reversed(list(enumerate(groups)))}
        self._order = [unit for _, unit in sorted(zip(groups, units, strict=True), key=lambda pair: rank[pair[0]])]
        self._groups = sorted(groups, key=lambda group: rank[group])
        self._passes = passes
        self._limit = limit
        self._asked: dict[frozenset[Unit], bool] = {}
        self._held: list[Unit] = []
        self._end = len(units)  # the prefix of this length is known to pass together with `_held`
        self._whole = False

    def run(self) -> Bisection[Unit] | None:
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
                    low, adjacent = start, True  # this group has another necessary unit
                    continue
                self._end = start
            if self._prefix(0):
                self._end = 0
                return
            low, adjacent = 0, False

    def _shortest(self, low: int, high: int, adjacent: bool) -> int:
        """Return the length of the shortest passing prefix. Length `low` is known to fail, length `high` to pass."""
        middle = high - 1 if adjacent else (low + high) // 2
        while high - low > 1:
            if self._prefix(middle):
                self._end = high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return high

    def _leave_out(self) -> None:
        """Remove unnecessary units from the result.

        A single unit is necessary, because the empty set is known to fail.
        """
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

    def _answer(self, *, minimal: bool) -> Bisection[Unit]:
        held = set(self._held)
        return Bisection(tuple(u for u in self._order if u in held), len(self._asked), minimal)
