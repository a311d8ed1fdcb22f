"""The composition in PyTorch compared with upstream's whole runs: tokens to mel, and mel to waveform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import ModelSettings
from cosybuild.models.cosyvoice.voice import Prompt, VoiceModules
from cosybuild.models.load import load_module
from cosybuild.models.resolve import resolve_subject
from cosybuild.numerics.metrics import snr_db
from tests.exact import exact_beside
from tests.models.cosyvoice.vocoder.vocoders import golden as golden_sound
from tests.models.cosyvoice.vocoder.vocoders import golden_draws, tiny
from tests.models.fixtures import DATA
from tests.runtime.voice.voices import AHEAD, VERSIONS, forms, golden

pytestmark = pytest.mark.arithmetic

STORED_DB = 135.0
"""Agreement of float64 with upstream's float64 mels, which are stored in float32 and computed partly in float32."""


def voice(version: int, dtype: torch.dtype, *, streaming: bool = False) -> VoiceModules:
    directory, settings = str(DATA / f"token2wav{version}_tiny"), ModelSettings(streaming=streaming)
    subjects = [
        resolve_subject(settings, directory, False, n) for n in (ComponentName.frontend, ComponentName.estimator)
    ]
    frontend, estimator = (load_module(subject, subject.weights) for subject in subjects)
    solver = subjects[1].solver
    assert solver is not None
    flow = VoiceModules(frontend, estimator, tiny(version), solver, reads_lookahead=version > 1).to(dtype)
    flow.vocoder = tiny(version, dtype)  # its weight norm is folded in that type
    return flow


def mel(version: int, form: str, dtype: torch.dtype) -> Tensor:
    """Compute a recorded form; before the last call, the last three tokens are look-ahead tokens."""
    data = {name: torch.from_numpy(values) for name, values in golden(version).items()}
    token = data["token"]
    end = token.shape[1] - (AHEAD if form.endswith("_more") else 0)
    prompt = Prompt(data["prompt_token"], data["prompt_feat"].to(dtype), data["embedding"].to(dtype))
    ahead = token[:, end:] if version > 1 else None
    modules = voice(version, dtype, streaming=form.startswith("streaming"))
    return modules.mel(token[:, :end], prompt, data["z"].to(dtype), ahead)


@pytest.mark.parametrize(("version", "form"), [(v, form) for v in VERSIONS for form in forms(v)])
def test_the_mel_of_a_whole_run_is_upstreams(version: int, form: str) -> None:
    exact = mel(version, form, torch.float64).numpy()
    recorded = golden(version)[form].astype(np.float64)
    assert exact.shape == recorded.shape
    assert snr_db(exact, recorded) >= STORED_DB
    exact_beside(exact, mel(version, form, torch.float32)).check(recorded, "upstream's mel")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_waveform_with_the_recorded_f0_is_upstreams(version: int) -> None:
    data, draws = golden_sound(version), golden_draws(version, torch.float64)
    modules = voice(version, torch.float64)
    given = (data["vmel"].double(), draws["noise"], draws["phase"])
    waveform, f0 = modules.waveform(*given, data["f0"].double())
    assert torch.equal(f0, data["f0"].double())
    # Upstream's phases are float32 sums; the reference's are not.
    assert snr_db(waveform.numpy(), data["wav64"].numpy()) >= 70
    own, predicted = modules.waveform(*given)
    assert snr_db(predicted.numpy(), data["f0"].numpy()) >= 100
    assert own.shape == waveform.shape
