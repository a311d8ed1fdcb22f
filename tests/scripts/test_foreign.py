"""The rounds of scripts/foreign are complete, and the tests that they name exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def foreign(*words: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "scripts" / "foreign")
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)


def test_every_round_selects_tests_that_exist() -> None:
    for words in (("--list",), ("--list", "--short")):
        listed = foreign(*words)
        assert listed.returncode == 0, listed.stderr
        selected = {word.partition("::")[0] for word in listed.stdout.split() if word.startswith("tests")}
        assert len(selected) > 3
        assert [name for name in selected if not (ROOT / name).exists()] == []


def test_an_unknown_round_is_refused_with_the_known_ones() -> None:
    refused = foreign("umask", "local")
    assert refused.returncode == 2
    assert "no such round: local" in refused.stderr
    assert "umask" in refused.stderr
