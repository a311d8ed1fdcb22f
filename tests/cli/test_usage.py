"""Wrong arguments of commands: one sentence, the value, what is expected, the next command, and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cosybuild.__main__ import main
from tests.scenarios.commands import Answer

REFUSED = [
    ("runs --limit x", "--limit: 'x' is not a whole number of at least 1"),
    ("runs --limt 3", "the argument '--limt' is not expected. Did you mean --limit?"),
    ("explain a b", "the argument 'b' is not expected. Expected: RUN"),
    ("store", "the command needs verb (one of ls, verify, push)"),
    ("store lss", "'lss' is not one of its commands; expected one of ls, verify, push. Did you mean ls?"),
    ("store push", "store push: the command needs URL (the remote"),
    ("gc --older-than", "--older-than needs a value AGE (remove only results"),
    ("gc --older-than 3", "--older-than: '3' is not an age; expected a number and s, m, h, d or w"),
    ("select x --objective sise", "'sise' is not a value of --objective; expected one of error, memory"),
    ("select x --max-error y", "--max-error: 'y' is not a number"),
    ("rollback x --to y", "--to: 'y' is not a whole number"),
    ("replay a b=c --foo", "the argument '--foo' is not expected"),
    ("--fob", "the argument '--fob' is not expected"),
    ("--cfg jbo", "'jbo' is not a value of --cfg/-c; expected one of job, hydra, all. Did you mean job?"),
    ("trt=none --config-dri x", "Did you mean --config-dir?"),
]


@pytest.mark.parametrize(("line", "told"), REFUSED)
def test_a_wrong_argument_is_reported_in_one_sentence(
    line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    code = main(line.split())
    answer = Answer(code, "", capsys.readouterr().err, tmp_path)
    answer.says(2, told)
    assert len(answer.err.splitlines()) == 2
    assert "usage:" not in answer.err
