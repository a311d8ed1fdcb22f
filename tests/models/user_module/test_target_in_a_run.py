"""No file in the directory of a run is used as code, whoever made the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.models.user_module.declared import file_of_target


@pytest.mark.attack("execute", "the target is refused")
def test_a_target_in_the_directory_of_a_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "outputs" / "runs" / "mine"
    (run / ".hydra").mkdir(parents=True)
    (run / "payload.py").write_text("")
    target = {"_target_": "outputs.runs.mine.payload.Net"}
    assert file_of_target(target) == Path("outputs/runs/mine/payload.py").absolute()
    (run / "report.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="the directory of a run"):
        file_of_target(target)
