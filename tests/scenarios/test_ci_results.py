"""A build in CI leaves a JUnit file and a summary of the step, also when it fails, and its exit code is the gate."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cosybuild.cli.ci_results import CiResults
from tests.scenarios.commands import DATA, QUICK, Place


@pytest.fixture
def checkout(tmp_path: Path) -> Place:
    shutil.copytree(DATA / "cosyvoice2_tiny", tmp_path / "model")
    return Place(tmp_path)


def cases(path: Path) -> dict[str, str]:
    """Return the name of each test -> passed, failure, error or skipped."""
    root = ElementTree.parse(path).getroot()  # noqa: S314  # made here
    found = {}
    for case in root.iter("testcase"):
        (kind,) = [child.tag for child in case if child.tag != "properties"]
        found[case.get("name") or ""] = "passed" if kind == "system-out" else kind
    assert int(root.get("tests") or 0) == len(found)
    return found


def test_each_step_of_a_run_is_a_test(checkout: Place) -> None:
    summary, results = checkout.directory / "summary.md", checkout.directory / "r.xml"
    actions = {"GITHUB_STEP_SUMMARY": str(summary)}
    checkout.cosybuild(*QUICK, "--junit", "r.xml", env=actions)
    steps = [step["label"] for step in checkout.report()["steps"]]
    assert cases(results) == dict.fromkeys(steps, "passed")
    first = summary.read_text(encoding="utf-8")
    assert "# cosyvoice2: ok" in first
    assert "| verify | built |" in first
    # A run that has nothing to do has results too, and the summary of a job grows step by step.
    results.unlink()
    checkout.cosybuild(*QUICK, "--junit=r.xml", env=actions)
    assert cases(results) == dict.fromkeys(steps, "passed")
    assert "up to date" in results.read_text(encoding="utf-8")
    assert summary.read_text(encoding="utf-8").count("# cosyvoice2: ok") == 2
    checkout.cosybuild(*QUICK, env=actions)  # a certified command
    assert summary.read_text(encoding="utf-8").count("# cosyvoice2: ok") == 3


def test_a_failed_gate_is_a_failure_and_a_refused_command_an_error(checkout: Place) -> None:
    summary, results = checkout.directory / "summary.md", checkout.directory / "r.xml"
    actions = {"GITHUB_STEP_SUMMARY": str(summary)}
    strict = ("verify.rtol=1e-12", "verify.atol=1e-12", "verify.snr_db=300")
    checkout.cosybuild(*QUICK, *strict, "--junit", "r.xml", code=5, env=actions)
    found = cases(results)
    assert found["verify"] == "failure"
    assert found["export"] == "passed"
    assert "**Failed.**" in summary.read_text(encoding="utf-8")
    checkout.cosybuild(*QUICK, "export.opset=99", "--junit", "r.xml", code=2, env=actions)
    assert cases(results) == {"build": "error"}
    assert "export.opset=99" in summary.read_text(encoding="utf-8")
    checkout.cosybuild(*QUICK, "model_dir=absent", "--junit", "r.xml", code=3)
    assert cases(results) == {"build": "error"}


def test_each_cell_of_a_sweep_is_a_test(checkout: Place) -> None:
    results = checkout.directory / "r.xml"
    words = ("-m", *QUICK, "verify.snr_db=10,300", "--junit", "r.xml")
    checkout.cosybuild(*words, code=5)
    assert cases(results) == {"verify.snr_db=10": "passed", "verify.snr_db=300": "failure"}


def test_results_that_cannot_be_written_are_refused_before_the_build(checkout: Place) -> None:
    refused = checkout.cosybuild(*QUICK, "--junit", "absent/r.xml", code=2)
    assert "the directory absent does not exist" in refused.err
    refused = checkout.cosybuild(*QUICK, "--junit", "model", code=2)
    assert "--junit model is a directory" in refused.err
    os.mkfifo(checkout.directory / "fifo")
    refused = checkout.cosybuild(*QUICK, "--junit", "fifo", code=2)
    assert "--junit fifo is a pipe or a device" in refused.err
    (checkout.directory / "kept.onnx").write_bytes(b"graph")
    refused = checkout.cosybuild(*QUICK, "--junit", "kept.onnx/", code=2)
    assert "--junit kept.onnx/ is a directory" in refused.err
    assert (checkout.directory / "kept.onnx").read_bytes() == b"graph"
    refused = checkout.cosybuild(*QUICK, "dry_run=true", "--junit", "r.xml", code=2)
    assert "dry_run=true builds nothing" in refused.err
    assert not (checkout.directory / "outputs").exists()


def test_results_that_cannot_be_written_do_not_replace_the_result_of_the_build(checkout: Place) -> None:
    actions = {"GITHUB_STEP_SUMMARY": "absent/summary.md"}
    built = checkout.cosybuild(*QUICK, env=actions)
    assert "warning: no summary for GitHub Actions (GITHUB_STEP_SUMMARY): Cannot write absent/summary.md" in built.err
    os.mkfifo(checkout.directory / "pipe")  # a pipe without a reader
    again = checkout.cosybuild(*QUICK, env={"GITHUB_STEP_SUMMARY": "pipe"})
    assert "Cannot write pipe" in again.err
    # Only the attempt to write shows that a file cannot be made there.
    lost = checkout.cosybuild(*QUICK, "export.opset=99", "--junit", "/proc/r.xml", code=2)
    assert "Cannot write /proc/r.xml" in lost.err
    assert "export.opset=99" in lost.err


def test_an_interrupted_command_is_an_error_and_no_empty_suite(tmp_path: Path) -> None:
    results = CiResults(tmp_path / "r.xml")
    results.failed(KeyboardInterrupt())
    assert results.write() == 0
    assert cases(tmp_path / "r.xml") == {"build": "error"}


def test_a_report_says_what_changed_since_the_last_run(checkout: Place) -> None:
    first = checkout.cosybuild(*QUICK)
    assert "Since the run" not in first.out
    assert checkout.report()["since"] is None
    shutil.copy(DATA / "cosyvoice2_tiny" / "flow.pt", checkout.directory / "model" / "flow.pt")
    (run,) = checkout.runs()
    weights = checkout.directory / "model" / "flow.pt"
    change_weights(weights)
    changed = checkout.cosybuild(*QUICK)
    assert "Since the run of " in changed.out
    (graph,) = (a["name"] for a in checkout.report()["artifacts"])
    assert f"sha256 of {graph}" in [change["what"] for change in checkout.report()["since"]["changes"]]
    summary = checkout.directory / "summary.md"
    checkout.cosybuild(*QUICK, env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert "\nNothing changed.\n" in summary.read_text(encoding="utf-8"), "the run before changed something"
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "## Changes since the run of " in text
    assert f"sha256 of {graph}" in text


def change_weights(path: Path) -> None:
    """Change one weight of the estimator."""
    import torch

    state = torch.load(path, weights_only=True)
    name = next(name for name in state if name.startswith("decoder.estimator.") and name.endswith("weight"))
    state[name].view(-1)[0] += 0.25
    torch.save(state, path)
