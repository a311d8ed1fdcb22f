"""Lengths of calls that are read from a file, and quantiles of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.errors import ConfigurationError
from cosybuild.models import service_lengths
from cosybuild.models.service_lengths import quantile_lengths, read_lengths

HISTOGRAMS = st.dictionaries(st.integers(1, 60), st.integers(1, 9), min_size=1, max_size=8)


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
