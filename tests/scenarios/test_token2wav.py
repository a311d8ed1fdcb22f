"""All parts between speech tokens and a waveform in one plan, with the results of builds of each part alone."""

from __future__ import annotations

import json
import shutil
import sys

from cosybuild.manifest import read_manifest
from tests.scenarios.commands import DATA, Place, actions

QUICK = (
    "model_dir=model",
    "trt=none",
    "verify=upstream",
    "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]",
)
JOINT = ("component=token2wav", *QUICK)
GRAPHS = {
    "frontend": "flow.frontend.fp32.onnx",
    "estimator": "flow.decoder.estimator.fp32.onnx",
    "vocoder": "hift.fp32.onnx",
}

UNIFORM_STEPS = """
import runpy
from cosybuild.runtime.voice import solver
cosine = solver.time_grid
solver.time_grid = lambda steps, schedule: cosine(steps, "linear")
runpy.run_module("cosybuild", run_name="__main__")
"""
"""A `python -m cosybuild` whose serving composition takes uniform steps."""


def test_one_plan_builds_every_part_and_nothing_twice(place: Place) -> None:
    shutil.copytree(DATA / "token2wav3_tiny", place.directory / "model")
    alone = place.cosybuild("component=frontend", *QUICK)
    assert "never built" in alone.out
    shutil.rmtree(place.directory / "outputs/runs")
    ran = place.cosybuild(*JOINT)
    assert "speaker is not built: it is campplus.onnx, and model does not have it." in ran.out
    report = place.report()
    done = actions(report)
    assert {step.split(" ", 1)[1]: what for step, what in done.items() if step.startswith("frontend")} == dict.fromkeys(
        ("export", "reference", "simplify", "verify"), "hit"
    )
    assert {what for step, what in done.items() if not step.startswith("frontend")} == {"built"}
    assert {artifact["part"]: artifact["name"] for artifact in report["artifacts"]} == GRAPHS
    (run,) = place.runs()
    assert "token2wav" in run.name
    for part, name in GRAPHS.items():
        manifest = read_manifest(run / "artifacts" / name)
        assert manifest is not None
        assert (manifest["part"], manifest["verified"]) == (part, True)
        assert manifest["model"] == report["model"]["parts"][part]
        assert json.loads((run / f"evidence/{part}.verification.json").read_text())["cases"]
    assert report["model"]["parts"]["vocoder"]["weights"] == "hift.pt"
    evidence = json.loads((run / "evidence/voice_verification.json").read_text())
    assert [row["form"] for row in evidence["rows"]] == ["fp32"]
    assert "verify voice" in manifest["verified_by"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 2, "the reference and one form"
    assert page.count('src="data:') == 8
    assert "http" not in page.replace("http-equiv", "")
    assert "passes" in ran.out
    text = (run / "report.md").read_text()
    assert "## Whole voice" in text
    assert "| vocoder inputs |" in text
    assert place.cosybuild(*JOINT).out.startswith("Nothing to do: 13 steps up to date.")
    assert "vocoder verify" in place.cosybuild("explain", run.name).out
    place.cosybuild("component=vocoder", *QUICK)
    report = next(json.loads((one / "report.json").read_text()) for one in place.runs() if "-vocoder-" in one.name)
    assert set(actions(report).values()) == {"hit"}

    planted = place.run(sys.executable, "-c", UNIFORM_STEPS, *JOINT, "verify.threads=2", code=5)
    assert "fp32: mel has snr_db" in planted.err
    assert "fails mel.snr_db" in planted.out
    (failed_run,) = (one for one in place.runs() if json.loads((one / "report.json").read_text())["status"] == "failed")
    assert "fails mel.snr_db" in (failed_run / "report.md").read_text()
    page = (failed_run / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 2, "the reference, and the wrong voice beside it"
    media = json.loads((failed_run / "evidence/voice_media.json").read_text())
    (wrong,) = media["forms"]
    assert wrong["sound"] != media["reference"]["sound"]
    assert all(url in page for url in (wrong["sound"], media["reference"]["sound"], wrong["mel_error"]))
    assert max(wrong["mel_error_db"]) > -60, "the error is to be seen"
    assert (failed_run / "events.jsonl").stat().st_size < 200_000, "the log has the path only"
    assert not list((failed_run / "artifacts").glob("*.onnx"))
    shutil.rmtree(failed_run)

    failed = place.cosybuild(*JOINT, "verify.snr_db=400", code=5)
    assert "verification error" in failed.err
    archive = next(place.directory.glob("outputs/runs/*/capsule.tar.gz"))
    replayed = place.cosybuild("replay", str(archive), code=5)
    assert "recorded: estimator verify: " in replayed.out
    assert "fails here, with the same message" in replayed.out


def test_a_front_end_is_deployed_as_torchscript_where_upstream_loads_it(place: Place) -> None:
    shutil.copytree(DATA / "token2wav1_tiny", place.directory / "model")
    deploy = ("component=frontend", "deploy=cosyvoice", "deploy.dir=service", "deploy.create=true")
    ran = place.cosybuild(*deploy, *QUICK)
    service = place.directory / "service"
    names = {"flow.encoder.fp32.zip", "flow.encoder.fp16.zip"}
    assert {path.name for path in service.iterdir() if path.suffix == ".zip"} == names
    assert "verify torchscript" in ran.out
    for name in names:
        manifest = read_manifest(service / name)
        assert manifest is not None
        assert (manifest["verified"], manifest["verified_by"]) == (True, ["verify torchscript"])
    (service / "llm.llm.fp16.zip").write_bytes(b"upstream made it")
    checked = place.cosybuild("check", "service").out
    assert all(name in checked for name in names)
    assert "llm.llm" not in checked
    shutil.rmtree(place.directory / "model")
    shutil.copytree(DATA / "token2wav3_tiny", place.directory / "model")
    refused = place.cosybuild(*deploy, *QUICK, code=2)
    assert "deploy=cosyvoice has no file of component=frontend of cosyvoice3" in refused.err
