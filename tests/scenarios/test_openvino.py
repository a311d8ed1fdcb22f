"""Whole commands with an OpenVINO IR: plan, build, repeat, benchmark, deploy, check and serve."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.scenarios.commands import DATA, QUICK, Place

pytest.importorskip("openvino")

BUILD = (*QUICK, "ov=fp32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("openvino")
    shutil.copytree(DATA / "cosyvoice2_tiny", directory / "model")
    return Place(directory)


def steps(place: Place) -> dict[str, dict[str, object]]:
    (run,) = (run for run in place.runs() if "ov_fp32" in run.name)
    return {step["label"]: step for step in json.loads((run / "report.json").read_text())["steps"]}


def test_a_build_is_planned_run_repeated_deployed_and_checked(place: Place) -> None:
    planned = place.cosybuild(*BUILD, "dry_run=true").out
    assert "openvino" in planned
    assert "verify openvino" in planned
    ran = place.cosybuild(*BUILD, "benchmark=quick", "deploy=bundle", "deploy.dir=service", "deploy.create=true")
    assert "products: " in ran.out
    assert {steps(place)[label]["action"] for label in ("openvino", "verify openvino")} == {"built"}
    timed = json.dumps(steps(place)["benchmark"]["metrics"])
    assert "openvino fp32" in timed
    again = place.cosybuild(*BUILD).out
    assert "nothing to do" in again.lower() or "cached" in again
    service = place.directory / "service"
    names = {path.name for path in service.iterdir() if path.is_file()}
    stem = "flow.decoder.estimator.fp32"
    assert {f"{stem}.openvino.xml", f"{stem}.openvino.bin", f"{stem}.openvino.xml.manifest.json"} <= names
    assert "[loads here: openvino " in place.cosybuild("check", "service").out
    weights = service / f"{stem}.openvino.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    checked = place.cosybuild("check", "service", code=5)
    assert "stale" in checked.out
    assert f"{stem}.openvino.bin has" in checked.out


def test_contradictions_are_refused_before_the_build(place: Place) -> None:
    said = place.cosybuild(*QUICK, "ov=fp32", "ov.keep_fp32=[arithmetic]", code=2).err
    assert "has no effect with ov.precision=fp32" in said
    assert "ov.max_fp32_share=2" in place.cosybuild(*QUICK, "ov=bf16", "ov.max_fp32_share=2", code=2).err


def test_the_doctor_names_the_precisions_that_run_here(place: Place) -> None:
    said = place.cosybuild("doctor", code=None).out
    assert "OpenVINO" in said
    assert "ov=fp32" in said
