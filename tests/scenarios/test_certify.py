"""Files of somebody else are certified, refuted and signed off, as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
import torch

from cosybuild.manifest import read_manifest, write_manifest
from cosybuild.runtime import load_estimator
from tests.certifying.foreign import Wrapped, subject_of, write
from tests.scenarios.commands import DATA, Place

PROFILE = "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]"
NAME = "flow.decoder.estimator.fp32.onnx"


def test_a_directory_with_a_port_is_certified_and_signed_off(place: Place) -> None:
    model = place.directory / "model"
    shutil.copytree(DATA / "cosyvoice1_tiny", model)
    certify = ("certify", "model_dir=model", "verify=upstream", PROFILE)
    refused = place.cosybuild(*certify, code=2)
    assert "model has no .onnx file." in refused.err
    write(model / NAME, subject_of(model))
    wrong = write(model / "wrong.onnx", subject_of(model), lambda module: Wrapped(
        module, lambda x, mask, mu, t, spks, cond: (x, mask, cond, t, spks, mu)))  # fmt: skip
    (model / "junk.onnx").write_bytes(b"junk")
    reports = ("--junit", "j.xml", "--sarif", "s.json", "--sign-off")
    ran = place.cosybuild(*certify, *reports, code=5)
    assert f"right: {NAME} (estimator of cosyvoice1, fp32), " in ran.out
    assert "wrong: wrong.onnx (estimator of cosyvoice1, fp32)" in ran.out
    assert "It looks like this mistake: mu and cond are exchanged." in ran.out
    assert "unreadable: junk.onnx" in ran.out
    _hold_junit(place.directory / "j.xml")
    _hold_sarif(place.directory / "s.json")

    manifest = read_manifest(model / NAME)
    assert manifest is not None
    assert (manifest["verified"], manifest["verified_by"]) == (True, ["certify"])
    assert "did not build it" in manifest["certified"]["statement"]
    assert {path.name for path in model.glob("*.manifest.json")} == {f"{NAME}.manifest.json"}
    wrong.unlink()
    (model / "junk.onnx").unlink()
    assert place.cosybuild("check", "model").out.split() == ["current", NAME]
    estimator = load_estimator(model)
    x = torch.zeros(2, 8, 5)
    assert estimator(x, torch.ones(2, 1, 5), x, torch.zeros(2), x[:, :, 0], x).shape == x.shape

    again = place.cosybuild(*certify, f"model/{NAME}", "--json")
    (verdict,) = json.loads(again.out)
    assert verdict["outcome"] == "right"
    assert verdict["notes"] == ["The reference is that of an earlier run."]
    shutil.copyfile(DATA / "cosyvoice1_tiny/cosyvoice.yaml", model / "cosyvoice.yaml")
    state = torch.load(model / "flow.pt", weights_only=True)
    torch.save({name: value * 1.01 for name, value in state.items()}, model / "flow.pt")
    tuned = place.cosybuild(*certify, code=5)
    assert "right for other weights: " in tuned.out
    assert not (model / f"{NAME}.manifest.json").exists()


@pytest.mark.attack("forge", "the file is refused as one that fits no network")
def test_a_forged_manifest_does_not_excuse_a_file_that_fits_no_network(place: Place) -> None:
    model = place.directory / "model"
    shutil.copytree(DATA / "cosyvoice1_tiny", model)
    path = model / "other.onnx"
    text = '<ir_version: 9, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
    onnx.save(onnx.parser.parse_model(text), path)
    write_manifest(path, {"verified": True, "verified_by": ["verify"], "model": {"family": "cosyvoice1"}})
    ran = place.cosybuild("certify", "model_dir=model", "verify=upstream", PROFILE, code=3)
    assert "unmatched: other.onnx" in ran.out


@pytest.mark.attack("forge", "the file is named and refuted, and its manifest stays")
def test_a_forged_manifest_of_a_build_does_not_hide_a_wrong_file(place: Place) -> None:
    model = place.directory / "model"
    shutil.copytree(DATA / "cosyvoice1_tiny", model)
    path = write(model / NAME, subject_of(model), lambda module: Wrapped(
        module, lambda x, mask, mu, t, spks, cond: (x, mask, cond, t, spks, mu)))  # fmt: skip
    write_manifest(path, {"verified": True, "verified_by": ["verify"], "model": {"family": "cosyvoice1"}})
    kept = (model / f"{NAME}.manifest.json").read_bytes()
    ran = place.cosybuild("certify", "model_dir=model", "verify=upstream", PROFILE, "--sign-off", code=5)
    assert f"wrong: {NAME} (estimator of cosyvoice1, fp32)" in ran.out
    assert "It has the manifest of a build, which stays" in ran.out
    assert (model / f"{NAME}.manifest.json").read_bytes() == kept


def _hold_junit(path: Path) -> None:
    suite = ElementTree.parse(path).getroot().find("testsuite")  # noqa: S314  # the command wrote it
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "1", "skipped": "0",
    }  # fmt: skip
    kinds = {case.get("name"): {child.tag for child in case} - {"properties"} for case in suite}
    assert kinds == {NAME: {"system-out"}, "wrong.onnx": {"failure"}, "junk.onnx": {"error"}}


def _hold_sarif(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (document["version"], set(document)) == ("2.1.0", {"$schema", "version", "runs"})
    (run,) = document["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    found = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: result for result in run["results"]}
    assert {name: (one["ruleId"], one["kind"], one["level"]) for name, one in found.items()} == {
        NAME: ("right", "pass", "none"),
        "wrong.onnx": ("mistake: mu and cond exchanged", "fail", "error"),
        "junk.onnx": ("unreadable", "fail", "error"),
    }
    assert {one["ruleId"] for one in found.values()} == rules
    assert all(one["message"]["text"] for one in found.values())
