"""Commands print in every encoding of the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from cosybuild.__main__ import main


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "\\xfcber \\u5e97"), ("latin-1", "über \\u5e97"), ("utf-8", "über 店")]
)
def test_a_character_that_the_encoding_lacks_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    assert main(["init", "acme", "--into", "über 店"]) == 0
    assert main(["init", "acme", "--into", "über 店"]) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.seek(0)
        assert shown in stream.read()


def test_a_file_name_that_is_no_valid_text_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert main(["init", "acme", "--into", "\udcff"]) == 0
    sys.stdout.seek(0)
    assert "\\udcff" in sys.stdout.read()
