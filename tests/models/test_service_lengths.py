"""Lengths read from a file, and profiles with the least padding for their number."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.errors import ConfigurationError
from cosybuild.models import service_lengths
from cosybuild.models.service_lengths import propose_ranges, quantile_lengths, read_lengths, yaml_of

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


@given(HISTOGRAMS, st.integers(2, 6))
def test_quantiles_are_lengths_that_are_seen_with_both_ends(histogram: dict[int, int], count: int) -> None:
    found = quantile_lengths(histogram, count)
    assert set(found) <= set(histogram)
    assert (found[0], found[-1]) == (min(histogram), max(histogram))
    assert len(found) <= count


def test_quantiles_are_equally_spaced_in_calls() -> None:
    assert quantile_lengths({10: 25, 20: 25, 30: 25, 40: 25}) == (10, 20, 30, 40)
    assert quantile_lengths(dict.fromkeys(range(1, 101), 1)) == (1, 25, 50, 75, 100)
    assert quantile_lengths({7: 1, 10: 97, 20: 1, 500: 1}) == (7, 10, 500)
    assert quantile_lengths({3: 1, 4: 1}, 3) == (3, 4)


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


def test_a_file_of_lengths_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("# frames, count\n50,3\n\n1.01 s\n 50 , 2 # again\n60,1\n", encoding="utf-8")
    assert list(read_lengths(path, 50.0).items()) == [(50, 5), (51, 1), (60, 1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("50\nfifty\n", "line 2 is 'fifty'"),
        ("50,0\n", "count is '0'"),
        ("50,-1\n", "count is '-1'"),
        ("50,\n", "line 1: the count is ''"),
        ("0\n", "line 1 is 0"),
        ("# nothing\n", r"holds no length\.\nNext: write `length` or `length,count` on each line"),
    ],
)
def test_the_error_names_a_line_that_is_no_length(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        read_lengths(path, 50.0)


def test_a_duration_needs_a_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("2 s\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="does not define its frames per second"):
        read_lengths(path, None)
    with pytest.raises(ConfigurationError, match=r"absent cannot be read(?s:.*)\nNext: give a text file"):
        read_lengths(tmp_path / "absent", 50.0)


def test_a_pipe_or_a_file_without_end_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match=r"not a regular file|Is a directory"):
            read_lengths(place, None)
    (tmp_path / "lengths").write_text("8\n" * 100)
    monkeypatch.setattr(service_lengths, "MAX_BYTES", 150)
    with pytest.raises(ConfigurationError, match="more than 150 bytes"):
        read_lengths(tmp_path / "lengths", None)


def test_the_proposal_is_an_option_file() -> None:
    text = yaml_of(propose_ranges({10: 90, 500: 10}, 2), "seq_len", "served")
    assert yaml.safe_load(text) == {
        "name": "served",
        "profiles": [{"seq_len": {"min": 10, "opt": 10, "max": 10}}, {"seq_len": {"min": 11, "opt": 500, "max": 500}}],
    }
    assert text.startswith("# Proposed from 100 lengths: padding 0.0%, with one profile 747.5%.")
    assert [line.partition(" # ")[2] for line in text.splitlines()[3:]] == ["90.0% of the calls", "10.0% of the calls"]
