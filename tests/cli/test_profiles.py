"""The command `profiles`, as a user types it: it prints a valid option."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cosybuild.__main__ import main
from tests.config.composing import settings_of


@pytest.fixture
def lengths(tmp_path: Path) -> Path:
    path = tmp_path / "lengths.txt"
    path.write_text("1 s,50\n2 s,40\n450,9\n2900\n", encoding="utf-8")
    return path


def test_the_proposal_is_a_valid_option_file(lengths: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", str(lengths), "--count", "3", "--compare"]) == 0
    said = capsys.readouterr()
    plain = yaml.safe_load(said.out)
    assert [one["seq_len"]["max"] for one in plain["profiles"]] == [100, 450, 2900]
    sizes = [one["seq_len"] for one in plain["profiles"]]
    stated = ",".join(f"{{seq_len: {{min: {s['min']}, opt: {s['opt']}, max: {s['max']}}}}}" for s in sizes)
    assert len(settings_of(f"trt_profile.profiles=[{stated}]").trt_profile.profiles) == 3
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["absent.txt"], 2, "absent.txt cannot be read"), (["LENGTHS", "--count", "0"], 2, "'0' is not a whole number")],
)
def test_the_error_names_what_cannot_be_read(
    words: list[str], code: int, said: str, lengths: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(lengths) if word == "LENGTHS" else word for word in words]
    try:
        ended = main(["profiles", *words])
    except SystemExit as stop:  # argparse exits
        ended = int(stop.code or 0)
    assert ended == code
    assert said in capsys.readouterr().err
