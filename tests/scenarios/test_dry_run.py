"""Plans for programs: JSON, exit codes, the total of a sweep; and builds with `-q`."""

from __future__ import annotations

import json

from tests.scenarios.commands import QUICK, Place


def test_a_plan_as_json_says_that_there_is_nothing_to_do(built_place: Place) -> None:
    plan = json.loads(built_place.cosybuild("dry_run=json", *QUICK).out)
    assert (plan["verdict"], plan["exit_code"], plan["expected_seconds"]) == ("nothing to do", 0, 0)
    assert [step["verdict"]["verdict"] for step in plan["steps"]] == ["hit"] * 4


def test_a_plan_as_json_is_all_that_is_printed_where_nothing_was_built(built_place: Place, place: Place) -> None:
    words = [word.replace("=model", f"={built_place.directory}/model") for word in QUICK]
    plan = json.loads(place.cosybuild(*words, "dry_run=json").out)
    assert (plan["verdict"], plan["exit_code"], plan["expected_seconds"]) == ("would build", 0, None)
    assert plan["steps"][0]["verdict"]["text"] == "never built"
    assert not place.files()


def test_a_blocked_plan_has_the_exit_code_of_the_run(built_place: Place) -> None:
    words = [word for word in QUICK if word != "trt=none"]
    plan = json.loads(built_place.cosybuild(*words, "trt=fp32", "trt.backend=tensorrt", "dry_run=json", code=9).out)
    assert (plan["verdict"], plan["exit_code"]) == ("blocked", 9)


def test_a_step_that_cells_share_counts_once_in_the_total(built_place: Place) -> None:
    words = ("-m", *QUICK, "simplify=none", "verify.seed=5,6")
    out = built_place.cosybuild("dry_run=true", *words).out
    # The export is built, and both cells verify with a reference of their own.
    assert out.splitlines()[-1].startswith("Total of 2 cells: 4 steps to run, ")
    shared = ("-m", *QUICK, "export.opset=20", "verify.rtol=1e-3,1e-2")
    *cells, total = map(json.loads, built_place.cosybuild("dry_run=json", *shared).out.splitlines())
    assert [len(cell["steps"]) for cell in cells] == [4, 4]
    assert cells[1]["overrides"][-1] == "verify.rtol=0.01"
    assert total["total"]["cells"] == 2
    assert total["total"]["steps"] == 4, "export, simplify and two verifications; the reference is built"


def test_a_quiet_sweep_prints_artifacts_and_failures(used_place: Place) -> None:
    words = ("-q", "-m", *QUICK, "simplify=none", "verify=off", "export.opset=18,99")
    ran = used_place.cosybuild(*words, code=2)
    (path,) = ran.out.splitlines()
    assert path.startswith("outputs/runs/")
    assert (used_place.directory / path).is_file()
    assert "export.opset=99 is not supported" in ran.err


def test_a_quiet_build_prints_the_artifacts(built_place: Place) -> None:
    (run,) = built_place.runs()
    ran = built_place.cosybuild("-q", *QUICK)
    assert ran.out == f"{run.relative_to(built_place.directory)}/artifacts/flow.decoder.estimator.fp32.onnx\n"
    refused = built_place.cosybuild("-q", *QUICK, "export.opset=99", code=2)
    assert refused.out == ""
    assert "export.opset=99" in refused.err
