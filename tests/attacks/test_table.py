"""The table of attempts: the rows of the plugin, and the page in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.attacks.table import KINDS, Row, rows_of

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.mark.attack("stale", "it is built again")
@pytest.mark.parametrize("what", ["a", "b"])
def test_an_old_file(what):
    assert what == "a"

@pytest.mark.attack("execute", "it is refused")
def test_code():
    pytest.skip("not here")

@pytest.mark.attack("execute", "it is refused")
def test_a_fixture_that_fails(missing):
    pass

def test_something_else():
    raise AssertionError
"""


def collected(directory: Path, *words: str) -> tuple[int, list[Row]]:
    (directory / "test_it.py").write_text(TESTS)
    rows = directory / "rows"
    rows.touch()
    command = [sys.executable, "-m", "pytest", "-p", "tests.attacks.table", f"--rootdir={directory}"]
    command += ["-c", "/dev/null", f"--attack-rows={rows}", *words, str(directory / "test_it.py")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.returncode, rows_of(rows)


def test_each_attempt_has_a_row_with_its_result(tmp_path: Path) -> None:
    code, rows = collected(tmp_path)
    assert code == 1
    assert rows == [
        Row("execute", "a fixture that fails", "it is refused", "test_it.py", "FAILED"),
        Row("execute", "code", "it is refused", "test_it.py", "skipped: not here"),
        Row("stale", "an old file: a", "it is built again", "test_it.py", "held"),
        Row("stale", "an old file: b", "it is built again", "test_it.py", "FAILED"),
    ]


def test_the_attempts_of_one_kind_can_be_listed_without_running_them(tmp_path: Path) -> None:
    code, rows = collected(tmp_path, "--collect-only", "--attack-kind=stale")
    assert code == 0
    assert [(row.attempt, row.result) for row in rows] == [("an old file: a", ""), ("an old file: b", "")]


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.attacks.table",
        "-c",
        "/dev/null",
        "--attack-rows=/dev/null",
    ]
    (tmp_path / "test_more.py").write_text(TESTS.replace('"stale"', '"stalest"'))
    ran = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "unknown kind 'stalest'" in ran.stdout + ran.stderr


def test_the_page_lists_enough_attempts_and_all_of_them_held() -> None:
    page = (ROOT / "docs" / "attempts.md").read_text(encoding="utf-8")
    counts = {
        kind: tuple(map(int, re.findall(rf"^\| {kind} \|.*\| (\d+) \| (\d+) \|$", page, re.M)[0])) for kind in KINDS
    }
    assert sum(held for _, held in counts.values()) >= 156
    assert min(counts["stale"][1], counts["execute"][1]) >= 20
    assert "FAILED" not in page
