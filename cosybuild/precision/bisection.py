"""Bisection: find a minimal set of units (nodes) that must return to fp32 for a predicate to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Unit = TypeVar("Unit", bound=Hashable)

Passes = Callable[[frozenset[Unit]], bool]


@dataclass(frozen=True)
class Bisection(Generic[Unit]):
    """The result of the search.

    Attributes:
        units: a set that passes, in search order.
        evaluations: number of sets that were evaluated.
        minimal: True if the set fails without any one of its units. False if the search was shortened by the limit;
            then the set passes, but may contain more units than necessary.
    """

    units: tuple[Unit, ...]
    evaluations: int
    minimal: bool


def evaluation_bound(units: int) -> float:
    """Return an upper bound on the evaluations if one or two units are needed: 2 log2(units) + 10."""
    return 2 * math.log2(max(1, units)) + 10


def bisect(
    units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int
) -> Bisection[Unit] | None:
    """Find a minimal set of units that passes.

    The units are ordered group by group. A binary search finds the shortest prefix that passes. The last unit of this
    prefix is necessary and joins the result. The search repeats in the shorter prefix before that unit, and each trial
    also includes the units of the result, until the result alone passes. So k necessary units take about k log2(n)
    evaluations, while delta debugging takes up to k^2. Necessary units of one group are adjacent and take two or three
    evaluations each, because the start of the group is tried first.

    The result is minimal if every superset of a passing set passes. That is not always so in lowering, where a further
    unit in float32 adds casts, which round. So at the end each unit is removed from the result once, and stays removed
    if the set passes without it.

    Args:
        units: all units that can return to fp32, in graph order.
        groups: the group of each unit, e.g. its module.
        passes: returns True if the set is sufficient. It is called once for each set.
        limit: largest number of evaluations. After half of them, whole groups are added at once.

    Returns:
        The set, empty if no unit is necessary; None if even all units are not sufficient.
    """
    return _Search(units, groups, passes, limit).run()


class _Spent(Exception):
    """The signal that the limit of evaluations is reached."""


class _Search(Generic[Unit]):
    def __init__(self, units: Sequence[Unit], groups: Sequence[Hashable], passes: Passes[Unit], limit: int) -> None:
        rank = {group: index for index, group in reversed(list(enumerate(groups)))}
        self._order = [unit for _, unit in sorted(zip(groups, units, strict=True), key=lambda pair: rank[pair[0]])]
        self._groups = sorted(groups, key=lambda group: rank[group])
        self._passes = passes
        self._limit = limit
        self._asked: dict[frozenset[Unit], bool] = {}
        self._held: list[Unit] = []
        self._end = len(units)  # length of a prefix that is known to pass together with the held units
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
                    low, adjacent = start, True  # this group has another needed unit
                    continue
                self._end = start
            if self._prefix(0):
                self._end = 0
                return
            low, adjacent = 0, False

    def _shortest(self, low: int, high: int, adjacent: bool) -> int:
        """Return the length of the shortest passing prefix; `low` is known to fail and `high` to pass."""
        middle = high - 1 if adjacent else (low + high) // 2
        while high - low > 1:
            if self._prefix(middle):
                self._end = high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return high

    def _leave_out(self) -> None:
        """Remove units until none can be removed; a single unit stays, because the empty set is known to fail."""
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
