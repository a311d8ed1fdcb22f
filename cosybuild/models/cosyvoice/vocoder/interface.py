"""The inputs and outputs of an exported vocoder, described without torch."""

from __future__ import annotations

from cosybuild.config.groups.vocoder import Cut
from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation, VocoderParameters
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec

STEM = "hift"

WEIGHTS = "hift.pt"

PREFIXES = ("", "generator.", "hift.")
"""Prefixes of the vocoder's tensors in hift.pt, in a file of its training, and in a file of the whole model."""

FLOAT32_MODULES = {
    "f0_predictor*": "an error of f0 changes the phases of all later samples",
    "m_source*": "the source: phases of many cycles, and its state",
    "conv_post": "its result holds phases in rad and logarithms of magnitudes; it has 0.3 % of the arithmetic",
    "synthesis*": "it adds up the samples of the waveform; it has less than 0.1 % of the arithmetic",
}
"""The modules that a lowered vocoder computes in float32: pattern of module paths -> reason."""

FEWEST_FRAMES = 4
"""The number of mel frames of the shortest window that is tested; `first` and `end` are drawn within it."""


def vocoder_spec(parameters: VocoderParameters, cut: Cut = Cut.none) -> ModelSpec:
    """Return the inputs and outputs in the order of `Hift.forward`, for the setting `vocoder.cut`.

    The dynamic axes of the inputs are `seq_len`, the number of mel frames, and `noise_len`, the number of rows in the
    table of noise. The table may have any length; the rows of a short table are used repeatedly.
    """
    sines = parameters.harmonics
    low, high = (-0.5, 0.5) if parameters.interpolation is Interpolation.exact else (0.0, 1.0)
    uniform_noise = parameters.interpolation is Interpolation.nearest
    state = (
        TensorSpec("f0", (1, "seq_len"), kind="f0"),
        TensorSpec("next_phase", (1, sines), kind="phase"),
        TensorSpec("next_noise_offset", (1,), "int64"),
    )
    results = (
        (TensorSpec("waveform", (1, "samples"), kind="waveform"),)
        if cut is Cut.none
        else (
            TensorSpec("spectrum_magnitude", (1, parameters.bins, "spectra"), kind="spectrum"),
            TensorSpec("spectrum_phase", (1, parameters.bins, "spectra"), kind="spectrum"),
        )
    )
    return ModelSpec(
        inputs=(
            TensorSpec("mel", (1, parameters.in_channels, "seq_len"), generator="speech_frames"),
            TensorSpec("noise", (1, "noise_len", sines), generator="uniform" if uniform_noise else "normal"),
            TensorSpec("noise_offset", (1,), "int64", "integer", 0, 1000, is_index=False),
            TensorSpec("phase", (1, sines), "float32", "uniform", low, high),
            TensorSpec("first", (1,), "int64", "integer", 0, FEWEST_FRAMES, is_index=False),
            TensorSpec("end", (1,), "int64", "integer", 0, FEWEST_FRAMES + 1, is_index=False),
        ),
        outputs=(*results, *state),
        frames_per_second=parameters.frames_per_second,
        axes={"noise_len": Axis(parameters.sampling_rate, parameters.samples_per_frame)},
        # The inputs and outputs stay float32: an error of the mel changes f0, each call passes its state to the next,
        # and the 8 or 11 bits of bf16 and fp16 are too few for samples.
        float32_io=True,
        float32_modules=FLOAT32_MODULES,
    )
