"""Half precision that fails is repaired by the commands of docs/howto/fp16-that-fails.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.scenarios.commands import actions
from tests.scenarios.planted import OVERFLOWING, SOUND, Workshop, words


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_auto_finds_the_failing_nodes_and_writes_an_option_file(workshop: Workshop) -> None:
    failed = workshop.cosybuild(*OVERFLOWING, "precision=fp16", code=5, env=workshop.env)
    assert "precision=auto" in failed.err
    (first,) = workshop.runs()
    workshop.cosybuild(*OVERFLOWING, "precision=auto", "verify.profile=true", env=workshop.env)
    (run,) = set(workshop.runs()) - {first}
    report = json.loads((run / "report.json").read_text())
    found = next(step for step in report["steps"] if step["stage"] == "precision")["metrics"]["search"]
    # The overflow lies between the multiplication and the division, and nodes between kept nodes are kept too. The
    # first kept node is the multiplication or the node before it: both sets are minimal, and rounding decides.
    first_kept, last_kept = (node["op"] for node in found["nodes"])
    assert first_kept in ("Mul", "Reshape")
    assert last_kept == "Div"
    assert found["minimal"]
    assert found["evaluations"] < found["promised"]
    text = (run / "report.md").read_text()
    assert "## Nodes that the gates need in float32" in text
    assert (run / "profile.svg").is_file()
    assert (run / "evidence" / "profile.json").is_file()

    option = workshop.directory / "ours" / "precision"
    option.mkdir(parents=True)
    shutil.copy(run / "artifacts" / "precision.yaml", option / "ours.yaml")
    plain = [word for word in OVERFLOWING if not word.startswith("precision.")]
    workshop.cosybuild("--config-dir", "ours", *plain, "precision=ours", env=workshop.env)
    (committed,) = set(workshop.runs()) - {first, run}
    done = json.loads((committed / "report.json").read_text())
    assert actions(done)["verify lowered"] == "hit", "the same graph, so its verification is known"


def test_auto_needs_gates(workshop: Workshop) -> None:
    ran = workshop.cosybuild(*SOUND, "precision=auto", "verify=off", code=2, env=workshop.env)
    assert "verify=off has no gates" in ran.err
    ran = workshop.cosybuild(*SOUND, "precision=auto", "precision.target=fp32", code=2, env=workshop.env)
    assert "lowers no node" in ran.err


@pytest.mark.parametrize("restless", [False, True])
def test_a_repeated_build_is_compared_and_reported(workshop: Workshop, restless: bool) -> None:
    asked = (*words(2.0, restless=restless), "verify.repeat=1", "precision=fp16")
    workshop.cosybuild(*asked, env=workshop.env)
    (run,) = workshop.runs()
    metrics = workshop.report()["steps"][-1]["metrics"]
    graph = next(one for one in metrics["artifacts"] if one["slot"] == "graph")
    assert graph["same_bytes"] is not restless
    assert bool(metrics["warnings"]) is restless
    assert set(metrics["seconds"]) == {"export", "simplify", "precision"}
    text = (run / "report.md").read_text()
    assert "## Repeated builds" in text
    if restless:
        assert 0 < graph["outputs"]["y"]["max_abs"] < 1e-3
        assert len(graph["latency"]["medians"]) == 2
        assert graph["operators"] == {}
        assert "2 contents in 2 builds" in text
    assert [path.name for path in (run / "evidence").glob("repetition*")] == ["repetition.json"]
