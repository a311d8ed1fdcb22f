"""Profiles with the least padding for their number, proposed for lengths that were recorded."""

from __future__ import annotations

from itertools import combinations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.models.profile_proposal import propose_ranges, yaml_of

HISTOGRAMS = st.dictionaries(st.integers(1, 60), st.integers(1, 9), min_size=1, max_size=8)


def padding(histogram: dict[int, int], tops: tuple[int, ...]) -> int:
    """Return the number of padded frames if every call is padded to the smallest sufficient maximum."""
    return sum(calls * (min(top for top in tops if top >= length) - length) for length, calls in histogram.items())


@given(HISTOGRAMS, st.integers(1, 5))
def test_no_other_choice_of_the_same_number_of_profiles_pads_less(histogram: dict[int, int], count: int) -> None:
    proposal = propose_ranges(histogram, count)
    longest = max(histogram)
    least = min(
        padding(histogram, (*tops, longest))
        for size in range(min(count, len(histogram)))
        for tops in combinations(sorted(histogram), size)
    )
    tops = tuple(sizes.max for sizes in proposal.ranges)
    assert padding(histogram, tops) == least
    assert proposal.padding == pytest.approx(least / sum(n * c for n, c in histogram.items()))
    assert proposal.padding <= proposal.single_padding


@given(HISTOGRAMS, st.integers(1, 5))
def test_profiles_cover_every_length_once_and_are_in_order(histogram: dict[int, int], count: int) -> None:
    proposal = propose_ranges(histogram, count)
    assert 1 <= len(proposal.ranges) <= count
    for length, sizes in ((n, [r for r in proposal.ranges if r.min <= n <= r.max]) for n in histogram):
        assert len(sizes) == 1, length
    assert all(r.min <= r.opt <= r.max and r.opt in histogram for r in proposal.ranges)
    assert all(a.max + 1 == b.min for a, b in zip(proposal.ranges[:-1], proposal.ranges[1:], strict=True))
    assert (proposal.ranges[0].min, proposal.ranges[-1].max) == (min(histogram), max(histogram))
    assert sum(proposal.calls) == sum(histogram.values())


@given(HISTOGRAMS, st.integers(1, 4))
def test_one_more_profile_never_pads_more(histogram: dict[int, int], count: int) -> None:
    assert propose_ranges(histogram, count + 1).padding <= propose_ranges(histogram, count).padding + 1e-12


def test_the_optimum_of_a_profile_is_the_median_of_its_calls() -> None:
    (only,) = propose_ranges({10: 4, 20: 3, 30: 3}, 1).ranges
    assert (only.min, only.opt, only.max) == (10, 20, 30)
    (only,) = propose_ranges({10: 5, 20: 3, 30: 2}, 1).ranges
    assert only.opt == 10


@pytest.mark.parametrize("histogram", [{}, {0: 1}, {1: 0}, {-1: 1}, {1: -1}])
def test_a_histogram_without_calls_or_with_no_lengths_is_a_defect(histogram: dict[int, int]) -> None:
    with pytest.raises(AssertionError):
        propose_ranges(histogram, 1)


def test_three_thousand_lengths_are_handled_quickly() -> None:
    proposal = propose_ranges(dict.fromkeys(range(1, 3001), 1), 4)
    assert [r.max for r in proposal.ranges] == [750, 1500, 2250, 3000]


def test_the_proposal_is_an_option_file() -> None:
    text = yaml_of(propose_ranges({10: 90, 500: 10}, 2), "seq_len", "served")
    assert yaml.safe_load(text) == {
        "name": "served",
        "profiles": [{"seq_len": {"min": 10, "opt": 10, "max": 10}}, {"seq_len": {"min": 11, "opt": 500, "max": 500}}],
    }
    assert text.startswith("# Proposed from 100 lengths: padding 0.0%, with one profile 747.5%.")
    assert [line.partition(" # ")[2] for line in text.splitlines()[3:]] == ["90.0% of the calls", "10.0% of the calls"]
