"""Errors of the system that are a user's to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.cli.failure import guarded
from tests.modes import bound_by_modes


def test_a_file_without_permission_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    path.touch(mode=0)
    with bound_by_modes():
        assert guarded(lambda: len(path.read_bytes())) == 7
    told = capsys.readouterr().err
    assert f"store error: {path} could not be read or written: permission was denied." in told
    assert "Next: correct its mode or owner" in told
