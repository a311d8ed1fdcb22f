"""OpenVINO IRs of the estimator as a form of a voice: only if asked for, and with the mel of the graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosybuild.backends.openvino.convert import IrTask, convert, interface
from cosybuild.config.groups.openvino import OvSettings
from cosybuild.errors import ArtifactRefused
from cosybuild.manifest import manifest_path, read_manifest, write_manifest
from cosybuild.models.shape_profile import SizeRange, listed_sizes
from cosybuild.runtime import load_voice
from tests.backends.openvino.making import SPEC, ignore
from tests.runtime.voice.test_artifact_choice import ESTIMATOR, STREAMING, names
from tests.runtime.voice.voices import prompt, tokens

pytest.importorskip("openvino")

PROFILE = {"seq_len": SizeRange(1, 100, 400)}


def add_ir(service: Path, name: str) -> Path:
    """Make an IR of an estimator's graph, with the manifest that a run gives it."""
    manifest = read_manifest(service / name)
    assert manifest is not None
    shapes = {port["name"]: tuple(port["shape"]) for port in manifest["model"]["inputs"]}
    inputs = tuple(replace(tensor, shape=shapes[tensor.name]) for tensor in SPEC.inputs)
    spec = replace(SPEC, inputs=inputs, outputs=(replace(SPEC.outputs[0], shape=shapes["x"]),))
    path = service / name.replace(".onnx", ".openvino.xml")
    report = convert(IrTask(service / name, path, OvSettings(), (PROFILE,), spec), ignore)
    facts = {
        "slot": "openvino",
        "openvino": {"version": report["version"], "precision": "fp32"},
        "profiles": [listed_sizes(PROFILE)],
        "interface": interface(spec),
    }
    write_manifest(path, {**manifest, **facts}, [path.with_suffix(".bin")])
    return path


def test_an_ir_is_used_only_if_it_is_asked_for_and_gives_the_waveform_of_the_graph(service: Path) -> None:
    irs = [add_ir(service, name) for name in (ESTIMATOR, STREAMING)]
    (service / "settings_of_another_program.xml").write_text("<settings/>")
    plain, chosen = load_voice(service, threads=1), load_voice(service, threads=1, forms={"estimator": "openvino"})
    assert names(plain)["estimator"] == ESTIMATOR
    assert [names(chosen)[part] for part in ("estimator", "streaming estimator")] == [ir.name for ir in irs]
    assert names(chosen)["frontend"] == names(plain)["frontend"]
    said = [voice(tokens(2, 12), *prompt(2), noise=3) for voice in (plain, chosen)]
    assert said[0].shape == said[1].shape
    assert float(np.abs(said[0] - said[1]).max()) < 0.01 * float(np.abs(said[0]).max())
    irs[0].with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ArtifactRefused, match=r"\.openvino\.bin has 0 bytes"):
        load_voice(service, threads=1, forms={"estimator": "openvino"}, trust=True)
    manifest_path(irs[0]).unlink()
    with pytest.raises(ArtifactRefused, match=r"has no estimator of the form 'openvino'"):
        load_voice(service, threads=1, forms={"estimator": "openvino"})
