"""The flags of a build that Hydra does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.cli.flags import Flags, Volume, is_silent, split_flags
from cosybuild.errors import ConfigurationError


def test_flags_are_taken_from_any_place() -> None:
    assert split_flags(["-q", "trt=none", "dry_run=json", "-m"]) == (
        Flags(Volume.quiet, json_plan=True),
        ["trt=none", "dry_run=true", "-m"],
    )
    assert split_flags(["trt=none"]) == (Flags(), ["trt=none"])


def test_the_last_volume_counts() -> None:
    assert split_flags(["-q", "--verbose"])[0].volume is Volume.all


def test_output_for_programs_has_no_opening_line() -> None:
    assert is_silent(["dry_run=json"])
    assert is_silent(["--quiet"])
    assert not is_silent(["dry_run=true", "-v"])


@pytest.mark.parametrize("words", [["--junit", "r.xml", "trt=none"], ["trt=none", "--junit=r.xml"]])
def test_the_file_for_ci_is_not_a_word_for_hydra(words: list[str]) -> None:
    assert split_flags(words) == (Flags(junit=Path("r.xml")), ["trt=none"])


@pytest.mark.parametrize("words", [["--junit"], ["--junit="], ["--junit", "-m"], ["--junit", "trt=none"]])
def test_the_file_for_ci_must_be_named(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="--junit needs the name of a file"):
        split_flags(words)
    assert not is_silent(words)
