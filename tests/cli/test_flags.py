"""The flags of a build that Hydra does not know."""

from __future__ import annotations

from cosybuild.cli.flags import Flags, Volume, is_silent, split_flags


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
