"""Completion: the words for an incomplete command line, and the scripts that docs/sharing.md describes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cosybuild.cli.completing import completions
from cosybuild.cli.verbs import VERBS

BIN = Path(sys.executable).parent

SCRIPT = """
eval "$("$1" -m cosybuild completion bash --python)"
shift
for line in "$@"; do
    COMPREPLY=(); COMP_LINE=$line; COMP_POINT=${#line}; read -ra COMP_WORDS <<< "$line"
    _cosybuild
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cosybuild expl", ["explain"]),
        ("cosybuild export=opset1", ["export=opset17", "export=opset18"]),
        ("cosybuild ++export=opset1", ["++export=opset17", "++export=opset18"]),
        ("cosybuild -m export=opset17,opset2", ["export=opset17,opset20", "export=opset17,opset23"]),
        ("cosybuild trt_profile.na", ["trt_profile.name="]),
        ("cosybuild trt_pro", ["trt_profile.", "trt_profile="]),
        ("cosybuild verify.mode=", ["verify.mode=strict", "verify.mode=upstream"]),
        ("cosybuild verify.solver=nu", ["verify.solver=null"]),
        ("cosybuild dry_run=", ["dry_run=false", "dry_run=true"]),
        ("cosybuild hydra/launcher=ba", ["hydra/launcher=basic"]),
        ("cosybuild gc --old", ["--older-than"]),
        ("cosybuild --conf", ["--config-dir"]),
        ("cosybuild help roll", ["rollback"]),
        ("cosybuild options trt_", ["trt_profile"]),
        ("python -m cosybuild store ver", ["verify"]),
        ("cosybuild check mod", []),
        ("cosybuild no_such_group=", []),
        ("cosybuild model_dir=/mod", []),
    ],
)
def test_the_last_word_is_completed(line: str, expected: list[str]) -> None:
    assert completions(line) == expected


def test_commands_are_completed_in_the_first_place_only() -> None:
    assert set(VERBS) <= set(completions("cosybuild "))
    assert not set(VERBS) - {"store"} & set(completions("cosybuild export=opset18 "))


def test_names_of_runs_and_options_of_other_directories_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cosyvoice2-a", "cosyvoice2-b", "other"):
        run = tmp_path / "outputs" / "runs" / name
        run.mkdir(parents=True)
        (run / "report.json").write_text("{}")
    assert completions("cosybuild explain cosy") == ["cosyvoice2-a", "cosyvoice2-b"]
    assert completions("cosybuild diff ") == ["cosyvoice2-a", "cosyvoice2-b", "last", "other"]
    (tmp_path / "ours" / "export" / "team").mkdir(parents=True)
    (tmp_path / "ours" / "export" / "team" / "edge.yaml").write_text("opset: 18\n")
    assert completions("cosybuild --config-dir ours export=te") == ["export=team/edge"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_script_of_bash_completes_both_forms_of_the_command(tmp_path: Path) -> None:
    lines = ["cosybuild export=opset1", f"{sys.executable} -m cosybuild trt_profile.na", "python -m json.to"]
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", sys.executable, *lines],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    # Bash takes `=` for the end of a word, so a reply is what follows it.
    assert done.stdout.splitlines() == ["opset17 opset18", "trt_profile.name=", ""], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_scripts_are_printed() -> None:
    for shell, registration in (("bash", "complete -o default -F _cosybuild"), ("zsh", "compdef _cosybuild")):
        words = [sys.executable, "-m", "cosybuild", "completion", shell]
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert f"{registration} cosybuild\n" in printed
        assert "python" not in printed
        both = subprocess.run([*words, "--python"], capture_output=True, text=True, check=True).stdout
        assert "python python3" in both
