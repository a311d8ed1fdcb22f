"""Faults that other implementations of the vocoder had: each is planted, and the named gate catches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder import source
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.metrics import Kind
from cosybuild.verification.judge import Comparison, Limits, compare_outputs
from tests.models.cosyvoice.vocoder.vocoders import call, draw, tiny

pytestmark = pytest.mark.arithmetic

LIMITS = Limits({}, kinds={"waveform": Kind.waveform, "f0": Kind.f0})
FRAMES = 60

Inputs = dict[str, Tensor]
Plant = Callable[[Hift, Inputs, pytest.MonkeyPatch], Inputs]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: the fault in words.
        version: the version of the tiny vocoder in which it is planted.
        gate: the metric whose bound it misses; `shape` if the length is wrong.
        output: the output in which it is visible.
        plant: function that changes the vocoder and returns the inputs of the call.
        loud: True to scale the vocoder so that it clips.
        frames: frames of the mel.
    """

    name: str
    version: int
    gate: str
    plant: Plant
    output: str = "waveform"
    loud: bool = False
    frames: int = FRAMES


def nearest(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.m_source.values = replace(module.values, interpolation=Interpolation.nearest)
    return inputs


def gaussian(_: Hift, inputs: Inputs, __: pytest.MonkeyPatch) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    return {**inputs, "noise": torch.randn(inputs["noise"].shape, generator=generator)}


def not_trimmed(module: Hift, inputs: Inputs, patch: pytest.MonkeyPatch) -> Inputs:
    own = module.synthesis

    def whole(spectra: Tensor) -> Tensor:
        windows = torch.ones_like(spectra[:, :1])
        plain = nn.functional.conv_transpose1d
        return plain(spectra, own.kernel, stride=own.hop) / plain(windows, own.envelope, stride=own.hop).clamp(min=1e-3)

    patch.setattr(own, "forward", whole)
    return inputs


def no_envelope(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.synthesis.envelope.zero_()
    module.synthesis.envelope[..., : module.synthesis.hop] = 1
    return inputs


def steep(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.last_slope = 0.1
    return inputs


def mirrored_behind(_: Hift, inputs: Inputs, patch: pytest.MonkeyPatch) -> Inputs:
    patch.setattr(Hift, "longer", lambda _, x: torch.cat([x, x[:, :, -2:-1]], dim=2))
    return inputs


def half_f0(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    for part in module.f0_predictor.modules():
        part.register_forward_hook(lambda _, __, result: result.half().float())
    return inputs


def float32_phase(_: Hift, inputs: Inputs, patch: pytest.MonkeyPatch) -> Inputs:
    """Sum the advances one after the other in float32, as a simple implementation does."""

    def plain(parts: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        total = np.cumsum((parts[0] + parts[1] + parts[2] + WHOLE_CYCLES).numpy(), axis=2, dtype=np.float32)
        sums = torch.from_numpy(np.pad(total, [(0, 0), (0, 0), (1, 0)]))
        return sums, torch.zeros_like(sums), torch.zeros_like(sums)

    patch.setattr(source, "running_sums", plain)
    return inputs


WHOLE_CYCLES = 39.0
"""Whole cycles that the ninth harmonic of 220 Hz advances in a frame of version 3; a simple sum keeps them."""


def always_voiced(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.m_source.values = replace(module.values, nsf_voiced_threshold=0.0)
    return inputs


def not_clamped(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.values = replace(module.values, audio_limit=1e9)
    return inputs


def lost_weights(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    """Set weights to zero, as some runtimes do if an external file is missing."""
    module.synthesis.kernel.zero_()
    return inputs


def conjugated(module: Hift, inputs: Inputs, _: pytest.MonkeyPatch) -> Inputs:
    module.analysis.kernel[module.values.bins :] *= -1
    return inputs


FAULTS = [
    Fault("nearest for linear interpolation in the source", 2, "snr_db", nearest),
    Fault("gaussian for uniform noise", 3, "snr_db", gaussian),
    Fault("the inverse transform is not trimmed", 2, "shape", not_trimmed),
    Fault("no division by the envelope", 1, "multi_resolution", no_envelope),
    Fault("slope 0.1 for 0.01 in the last activation", 2, "log_mel_db", steep),
    Fault("reflection pad on the wrong side", 1, "snr_db", mirrored_behind),
    Fault("f0 in fp16", 3, "f0_cents", half_f0, output="f0"),
    Fault("phases added up in float32", 3, "log_mel_db", float32_phase, frames=1500),
    Fault("every frame above 0 Hz is voiced", 1, "snr_db", always_voiced),
    Fault("no clamp", 2, "clipped", not_clamped, loud=True),
    Fault("weights lost", 3, "silence", lost_weights),
    Fault("the other sign of the imaginary part", 1, "snr_db", conjugated),
]


def prepared(fault: Fault, dtype: torch.dtype = torch.float32) -> Hift:
    module = tiny(fault.version, dtype)
    with torch.no_grad():
        if fault.loud:
            module.conv_post.bias[: module.values.bins].add_(3)
    return module


def outputs(module: Hift, inputs: Inputs, dtype: torch.dtype = torch.float32) -> dict[str, Array]:
    waveform, f0, *_ = call(module, inputs, dtype)
    return {"waveform": waveform.numpy(), "f0": f0.numpy()}


def readings(
    fault: Fault, patch: pytest.MonkeyPatch
) -> tuple[dict[str, Comparison], dict[str, Comparison], dict[str, Array]]:
    """Return the judge's readings for the correct and the faulty computation."""
    inputs = {**draw(tiny(fault.version).values, fault.frames, noise=24000), "first": torch.tensor([0])}
    expected = outputs(prepared(fault), inputs)
    right = compare_outputs(outputs(prepared(fault, torch.float64), inputs, torch.float64), expected, LIMITS)
    module = prepared(fault)
    with torch.no_grad():
        changed = fault.plant(module, inputs, patch)
    return right, compare_outputs(outputs(module, changed), expected, LIMITS), expected


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_the_code_of_the_vocoder_is_caught_by_its_gate(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, faulty, _ = readings(fault, monkeypatch)
    assert [one.fault for one in right.values()] == [None, None]
    found = faulty[fault.output]
    assert found.fault is not None
    if fault.gate == "shape":
        assert "has shape" in found.fault.text
    else:
        assert fault.gate in {miss.metric for miss in found.missed}
        assert fault.gate in found.fault.text
