"""The diffs in CONTRIBUTING.md apply to the present tree, and their additions work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.models import make_model_directory
from tests.docs.pages import ROOT, blocks
from tests.importing import importing
from tests.scenarios.commands import Place, actions

DIFFS = [block.text for block in blocks(ROOT / "CONTRIBUTING.md") if block.language == "diff"]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a copy of the sources with every diff applied."""
    place = Place(tmp_path_factory.mktemp("changed"))
    for name in ("cosybuild", "conf"):
        shutil.copytree(ROOT / name, place.directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for diff in DIFFS:
        done = subprocess.run(
            ["git", "apply", "--unsafe-paths", f"--directory={place.directory}", "-"],
            input=diff,
            cwd=place.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{diff}"
    make_model_directory(place.directory / "model")
    return place


def environment(place: Place) -> dict[str, str]:
    return importing(place.directory)


def test_there_is_a_diff_for_each_kind_of_addition() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(DIFFS) == text.count("\n## Add a ") == 4


def test_the_diffs_of_the_profile_and_the_stage_work(changed: Place) -> None:
    words = ("model_dir=model", "trt_profile=short", "trt=none", "verify=upstream")
    changed.cosybuild(*words, env=environment(changed))
    report = changed.report()
    assert report["config"]["trt_profile"]["name"] == "short"
    assert actions(report)["outline"] == "built"
    (run,) = changed.runs()
    outline = (run / "artifacts" / "outline.txt").read_text(encoding="utf-8")
    (step,) = (step for step in report["steps"] if step["label"] == "outline")
    assert len(outline.splitlines()) == step["metrics"]["operators"] > 5
    # The declaration is enough for caching and for reasons.
    again = changed.cosybuild(*words, "simplify=none", env=environment(changed))
    assert "building  outline  input.graph:" in again.out


def test_the_diff_of_the_model_works(changed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.cosybuild("model=loudness", "trt=none", "trt_profile=short", env=environment(changed), code=2)
    place.cosybuild(
        "model=loudness", "trt=none", "trt_profile=short", "model.frames_per_second=50", env=environment(changed)
    )
    assert [artifact["name"] for artifact in place.report()["artifacts"]] == ["loudness.fp32.onnx", "outline.txt"]


def test_the_diff_of_the_service_works(changed: Place) -> None:
    words = ("trt=none", "trt_profile=short", "verify=upstream", "deploy=acme", "deploy.dir=model", "deploy.force=true")
    ran = changed.cosybuild("model_dir=model", *words, env=environment(changed))
    assert "deployed to model (acme)" in ran.out
    assert (changed.directory / "model" / "flow.decoder.estimator.acme.onnx").is_file()


def test_the_added_code_passes_the_linter(changed: Place) -> None:
    shutil.copy(ROOT / "pyproject.toml", changed.directory)
    added = ("cosybuild/stages/outline.py", "cosybuild/stages/pipeline.py", "cosybuild/models/loudness.py")
    if shutil.which("ruff") is None:
        pytest.skip("the extra lint is not installed here")
    changed.run("ruff", "check", "--no-cache", *added)
    changed.run("ruff", "format", "--no-cache", "--check", *added)
