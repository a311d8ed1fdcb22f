"""The set that the search finds passes, is minimal, and takes at most the evaluation_bound number of evaluations."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cosybuild.precision.bisection import Bisection, bisect, evaluation_bound

MANY = 10_000


def find(count: int, width: int, *repairs: set[int], limit: int = MANY) -> Bisection[int] | None:
    """Search 0..count-1 in groups of `width`; a set passes if it contains all of any one of `repairs`."""
    asked = []

    def passes(units: frozenset[int]) -> bool:
        asked.append(units)
        return any(repair <= units for repair in repairs)

    found = bisect(range(count), [index // width for index in range(count)], passes, limit)
    assert len(asked) == len(set(asked))
    assert found is None or found.evaluations == len(asked)
    return found


@given(st.integers(1, 5000), st.integers(1, 60), st.data())
def test_one_needed_unit_is_found_within_the_promised_evaluations(count: int, width: int, data: st.DataObject) -> None:
    guilty = data.draw(st.integers(0, count - 1))
    found = find(count, width, {guilty})
    assert found is not None
    assert found.units == (guilty,)
    assert found.evaluations <= math.ceil(math.log2(count)) + 4 < evaluation_bound(count)


@given(st.integers(2, 5000), st.integers(1, 5000), st.data())
def test_two_needed_units_are_found_within_the_promised_evaluations(
    count: int, width: int, data: st.DataObject
) -> None:
    guilty = data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2))
    found = find(count, width, guilty)
    assert found is not None
    assert set(found.units) == guilty
    assert found.minimal
    assert found.evaluations < evaluation_bound(count)


@given(st.integers(2, 5000), st.integers(1, 60), st.data())
def test_one_of_two_alternative_units_is_found(count: int, width: int, data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2)))
    found = find(count, width, {first}, {second})
    assert found is not None
    assert found.units in ((first,), (second,))
    assert found.evaluations < evaluation_bound(count)


@given(st.integers(1, 400), st.integers(1, 20), st.lists(st.sets(st.integers(0, 399), max_size=9), min_size=1))
def test_a_minimal_set_is_found_for_any_monotone_predicate(count: int, width: int, drawn: list[set[int]]) -> None:
    repairs = [{unit % count for unit in repair} for repair in drawn]
    found = find(count, width, *repairs)
    assert found is not None
    assert found.minimal
    assert any(set(found.units) == repair for repair in repairs)
    for unit in found.units:
        assert not any(repair <= set(found.units) - {unit} for repair in repairs)


@given(st.integers(64, 4000), st.integers(4, 12), st.data())
def test_a_whole_layer_costs_little_more_than_one_node(count: int, width: int, data: st.DataObject) -> None:
    layer = data.draw(st.integers(0, count // width - 1))
    guilty = set(range(layer * width, layer * width + 4))
    found = find(count, width, guilty)
    assert found is not None
    assert set(found.units) == guilty
    assert found.evaluations <= math.log2(count) + 22


@given(st.sets(st.integers(0, 39), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_set_is_minimal_even_if_sets_pass_at_random(always: set[int], random: object) -> None:
    """The predicate is not monotone: each set passes at random, except that the full set passes."""

    def passes(units: frozenset[int]) -> bool:
        return len(units) == 40 or (always <= units and random.random() < 0.7)  # type: ignore[attr-defined]

    answers: dict[frozenset[int], bool] = {}

    def remembered(units: frozenset[int]) -> bool:
        return answers.setdefault(units, passes(units))

    found = bisect(range(40), [0] * 40, remembered, MANY)
    assert found is not None
    kept = frozenset(found.units)
    assert answers[kept]
    assert not found.minimal or not any(answers[kept - {unit}] for unit in kept if len(kept) > 1)


def test_the_result_is_empty_if_nothing_fails_and_none_if_nothing_helps() -> None:
    assert find(8, 2, set()) == Bisection((), 1, True)
    assert find(8, 2, {9}) is None


def test_interleaved_groups_are_searched_one_after_the_other() -> None:
    seen = []

    def passes(units: frozenset[int]) -> bool:
        seen.append(units)
        return {1, 3} <= units

    found = bisect(range(4), "abab", passes, MANY)
    assert found is not None
    assert found.units == (1, 3)
    assert frozenset({0, 2}) in seen


@given(st.integers(4, 60))
def test_a_limit_gives_a_set_that_passes(limit: int) -> None:
    guilty = set(range(0, 400, 7))
    found = find(400, 10, guilty, limit=limit)
    assert found is not None
    assert guilty <= set(found.units)
    assert found.evaluations <= limit
    assert not found.minimal
