"""Whole commands build the forms of the vocoder."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from cosybuild.backends.onnxruntime_backend import load
from cosybuild.config.groups.verify import Provider
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.numerics.inputs import Draw, draw_inputs
from tests.models.cosyvoice.vocoder.vocoders import directory, tiny
from tests.scenarios.commands import Place, actions

WORDS = ("component=vocoder", "trt=none", "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]")


def test_the_forms_of_the_vocoder_are_built_and_verified(place: Place) -> None:
    """The forms of version 3 are the waveform, and magnitude and phase with f0 in float64."""
    model = f"model_dir={directory(3)}"
    place.cosybuild(*WORDS, model)
    place.cosybuild(*WORDS, model, "vocoder=spectrum", "vocoder.f0=float64")
    graphs = {path.name: path for run in place.runs() for path in (run / "artifacts").glob("*.onnx")}
    assert set(graphs) == {"hift.fp32.onnx", "hift.spectrum.f0_float64.fp32.onnx"}
    (cut,) = (run for run in place.runs() if "-vocoder-spectrum-f0_float64-" in run.name)
    whole, spectrum = graphs["hift.fp32.onnx"], graphs["hift.spectrum.f0_float64.fp32.onnx"]
    assert (cut / "artifacts" / spectrum.name).samefile(spectrum)
    values = tiny(3).values
    inputs = draw_inputs(vocoder_spec(values), Draw({"seq_len": 10, "noise_len": 100}))
    results = [load(path, provider=Provider.cpu, threads=1).infer(inputs) for path in (whole, spectrum)]
    assert results[0]["waveform"].shape == (1, 10 * values.samples_per_frame)
    for name in ("spectrum_magnitude", "spectrum_phase"):
        assert results[1][name].shape == (1, values.bins, 10 * values.spectra_per_frame + 1)
    assert "waveform" not in results[1]
    kinds = [{tensor.data_type for tensor in onnx.load(path).graph.initializer} for path in (whole, spectrum)]
    assert [onnx.TensorProto.DOUBLE in kind for kind in kinds] == [False, True]
    assert results[1]["f0"].dtype == np.float32


def test_an_engine_with_f0_in_float64_is_refused(place: Place) -> None:
    ran = place.cosybuild("component=vocoder", "vocoder.f0=float64", "trt=fp32", code=2)
    assert "TensorRT would compute float64 in float32" in ran.err
    assert "Next: trt=none" in ran.err


@pytest.mark.parametrize("component", ["estimator", "frontend"])
def test_other_components_do_not_read_its_form(place: Place, component: str) -> None:
    model = (f"component={component}", f"model_dir={directory(2)}", *WORDS[1:], "verify=off")
    place.cosybuild(*model)
    (first,) = place.runs()
    place.cosybuild(*model, "vocoder=spectrum")
    (second,) = (run for run in place.runs() if run != first)
    done = actions(json.loads((second / "report.json").read_text(encoding="utf-8")))
    assert set(done.values()) == {"hit"}
