"""Voices whose samples show which build each of their three parts comes from; for the scripts that kill deployments.

A voice of build n has a flow of weights n and a vocoder of weights n // 2, so two builds can share a vocoder. Every
sample is F + 100 E + 10000 V, where F, E and V are the numbers of the front end's, the estimator's and the vocoder's
build. Numbers are below 100, which float32 represents without loss here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser

from cosybuild.errors import VariantRefused
from cosybuild.manifest import write_manifest
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice

FRONT_END, ESTIMATOR, VOCODER = "flow.frontend.fp32.onnx", "flow.decoder.estimator.fp32.onnx", "hift.fp32.onnx"
VARIANTS = ("full", "streaming")
MOST = 99
"""The largest number of a build."""

_GUIDANCE, _HOP = 0.7, 480
_BINS = "float[1,80,T]"


def make_run(directory: Path, variant: str, build: int) -> Path:
    """Make the artifacts of a joint build: front end and estimator with one kind of attention, and a vocoder."""
    assert 0 <= build <= MOST, build
    directory.mkdir()
    infix, flow, vocoder = ".streaming" if variant == "streaming" else "", f"{build:064}", f"{build // 2:064}"
    voice = {"frontend": flow, "estimator": flow, "vocoder": vocoder}
    for name, (text, hyperparameters, more) in _parts(build).items():
        is_vocoder = name == VOCODER
        path = directory / (name if is_vocoder else name.replace(".fp32", f"{infix}.fp32"))
        model = onnx.parser.parse_model(text)
        onnx.save(model, path)
        facts = {
            "family": "cosyvoice2",
            "streaming": bool(infix) and not is_vocoder,
            "weights": "hift.pt" if is_vocoder else "flow.pt",
            "weights_digest": vocoder if is_vocoder else flow,
            "random_weights": False,
            "hyperparameters": hyperparameters,
            **more,
        }
        interface = {"inputs": _ports(model.graph.input), "outputs": _ports(model.graph.output)}
        write_manifest(
            path, {"verified": True, "slot": "graph", "model": facts, "interface": interface, "voice": voice}
        )
    return directory


def answers(service: Path) -> dict[str, int]:
    """Load a voice, compute with each kind of attention that it has, and return variant -> number of the build.

    Raises:
        ArtifactRefused: the directory has no voice.
        AssertionError: a part is of another build than the others.
    """
    voice, found = load_voice(service, threads=1), {}
    for variant in VARIANTS:
        try:
            value = _sample(voice, streaming=variant == "streaming")
        except VariantRefused:
            continue
        vocoder, rest = divmod(value, 10_000)
        estimator, frontend = divmod(rest, 100)
        assert frontend == estimator, f"{variant}: front end {frontend} with estimator {estimator}"
        assert vocoder == frontend // 2, f"{variant}: flow {frontend} with vocoder {vocoder}"
        found[variant] = frontend
    return found


def _sample(voice: Voice, *, streaming: bool) -> int:
    nothing = np.zeros((1, 80, 64), np.float32)
    prompt = np.zeros(0, np.int64), np.zeros((0, 80), np.float32), np.zeros(192, np.float32)
    samples = voice.vocode(voice.mel([1, 2, 3], *prompt, noise=nothing, streaming=streaming))
    assert samples.shape == (3 * 2 * _HOP,)
    values = np.unique(np.rint(samples))
    assert values.size == 1, f"the samples differ: {values}"
    return int(values[0])


def _parts(build: int) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return name -> text of the graph, hyperparameters, and further facts of the manifest."""
    head = '<ir_version: 9, opset_import: ["" : 18]>'
    frontend = f"""{head} g (int64[1,N] token, int64[1,A] lookahead_token, int64[1,P] prompt_token,
      float[1,M,80] prompt_feat, float[1,192] embedding) => ({_BINS} mu, float[1,80] spks, {_BINS} cond)
      <float[1] number = {{{build}.0}}, float[1] zero = {{0.0}}, int64[1] one = {{1}}, int64[1] two = {{2}},
       int64[2] flat = {{1, 80}}>
      {{ size = Shape(token) n = Gather<axis = 0>(size, one) frames = Mul(n, two) wide = Concat<axis = 0>(flat, frames)
         mu = Expand(number, wide) cond = Expand(zero, wide) spks = Expand(zero, flat) }}"""
    # Guidance multiplies what depends on mu by 1.7, because the second row has mu zero.
    estimator = f"""{head} g (float[2,80,T] x, float[2,1,T] mask, float[2,80,T] mu, float[2] t, float[2,80] spks,
      float[2,80,T] cond) => (float[2,80,T] estimator_out)
      <float[1] number = {{{build * 100}.0}}, float[1] zero = {{0.0}}, float[1] share = {{{1 / (1 + _GUIDANCE)}}}>
      {{ shared = Mul(mu, share) sum = Add(shared, number) still = Mul(x, zero) estimator_out = Add(sum, still) }}"""
    vocoder = f"""{head} g ({_BINS} mel, float[1,R,9] noise, int64[1] noise_offset, float[1,9] phase, int64[1] first,
      int64[1] end) => (float[1,S] waveform, float[1,T] f0, float[1,9] next_phase, int64[1] next_noise_offset)
      <float[1] number = {{{build // 2 * 10_000}.0}}, int64[1] one = {{1}}, int64[3] tall = {{1, {_HOP}, 1}},
       int64[2] row = {{1, -1}}>
      {{ mean = ReduceMean<keepdims = 1>(mel, one) high = Expand(mean, tall) turned = Transpose<perm = [0, 2, 1]>(high)
         flat = Reshape(turned, row) waveform = Add(flat, number) f0 = Squeeze(mean, one)
         next_phase = Identity(phase) next_noise_offset = Identity(noise_offset) }}"""
    flow = {"output_size": 80, "vocab_size": 9, "token_mel_ratio": 2, "pre_lookahead_len": 3, "input_frame_rate": 25}
    sound = {"upsample_rates": [8, 5, 3], "hop_len": 4, "sampling_rate": 24000, "in_channels": 80, "nb_harmonics": 8}
    solver = {"steps": 10, "schedule": "cosine", "guidance": _GUIDANCE}
    return {
        FRONT_END: (frontend, flow, {}),
        ESTIMATOR: (estimator, {"static_chunk_size": 50}, {"solver": solver, "frames_per_second": 50.0}),
        VOCODER: (vocoder, {**sound, "interpolation": "linear"}, {"context_frames": [0, 0]}),
    }


def _ports(values: Any) -> list[dict[str, Any]]:
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
    return [
        {
            "name": value.name,
            "dtype": names[value.type.tensor_type.elem_type],
            "shape": [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        }
        for value in values
    ]
