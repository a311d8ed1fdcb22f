"""Vocoders and front ends against graphs exported from plain modules, and the real-time factor on one core.

    python benchmarks/components.py vocoder [--versions 1 2 3] [--frames 100] [--rounds 5]
    python benchmarks/components.py frontend [--versions 1 2 3] [--frames 100] [--rounds 5]
    python benchmarks/components.py report RUN_DIRECTORY ...

Full-size networks with random weights, opset 18, TorchScript exporter, simplified. The plain graph is exported from a
module as a port would write it: weight norm and padding are nodes, the source is computed for every sample and
harmonic, and layers are not fused. ONNX Runtime runs both with one thread in turn; the time is processor time, so that
another process on the machine costs cache, not time. `ratio` is the median of the paired ratios, with the smallest and
the largest. `report` prints time and peak memory of each step of finished runs. All print Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import onnx
import onnxruntime
import onnxsim
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.exporting.torch_exporters import export_graph
from cosybuild.models.cosyvoice.frontend import lookahead, upsampling
from cosybuild.models.cosyvoice.frontend.attention import RelativeAttention
from cosybuild.models.cosyvoice.vocoder import convolution as convolutions
from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation
from cosybuild.models.cosyvoice.vocoder.residual import Snake
from cosybuild.models.cosyvoice.vocoder.source import TURN, Source
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.numerics.metrics import snr_db

OPSET = 18


def padded_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, dilation: int = 1, left: int = 0, right: int = 0
) -> Tensor:
    """Pad with a node of its own, then convolve."""
    return F.conv1d(F.pad(x, (left, right)), weight, bias, stride=stride, dilation=dilation)


def padded_causal(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (weight.shape[2] - 1, 0)), weight, bias)


def plain_snake(self: Snake, x: Tensor) -> Tensor:
    alpha = self.alpha.unsqueeze(0).unsqueeze(-1)
    return x + (1.0 / (alpha + 1e-9)) * torch.pow(torch.sin(x * alpha), 2)


def plain_source(
    self: Source, f0: Tensor, noise: Tensor, offset: Tensor, phase: Tensor, first: Tensor, end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute every harmonic at every sample, with a sum in float32."""
    own, samples = self.values, self.values.samples_per_frame
    multiples = torch.arange(1, own.harmonics + 1, dtype=f0.dtype).reshape(1, -1, 1)
    f0 = F.interpolate(f0, scale_factor=float(samples))
    rate = (f0 * multiples / own.sampling_rate) % 1
    if own.interpolation is Interpolation.exact:
        cycles = torch.cumsum(rate, dim=2)
    else:
        coarse = torch.cumsum(F.interpolate(rate, scale_factor=1 / samples, mode="linear"), dim=2) * samples
        cycles = F.interpolate(coarse, scale_factor=float(samples), mode=own.interpolation.value)
    voiced = (f0 > own.nsf_voiced_threshold).to(f0.dtype)
    sines = own.nsf_alpha * torch.sin(TURN * (cycles + phase.unsqueeze(2))) * voiced
    loudness = voiced * own.nsf_sigma + (1 - voiced) * own.nsf_alpha / 3
    mixed = sines.transpose(1, 2) + loudness.transpose(1, 2) * noise[:, : f0.shape[2]]
    return torch.tanh(self.l_linear(mixed)).transpose(1, 2), phase * 1, offset + (end - first) * samples


def plain_attention(self: RelativeAttention, x: Tensor, positions: Tensor, bias: Tensor | None) -> Tensor:
    """Shift the scores of distances behind a column of zeros, and compute the softmax of the sum."""
    batch, length = x.shape[0], x.shape[1]
    query, key, value = (self._heads(layer(x)) for layer in (self.linear_q, self.linear_k, self.linear_v))
    distance = self._heads(self.linear_pos(positions[:, :-1]))
    by_distance = torch.matmul(query + self.pos_bias_v.unsqueeze(1), distance.transpose(2, 3))
    rows = F.pad(by_distance, (1, 0)).reshape(batch, self.heads, 2 * length, length)[:, :, 1:]
    shifted = rows.reshape(batch, self.heads, length, 2 * length - 1)[:, :, :, :length]
    scores = (torch.matmul(query + self.pos_bias_u.unsqueeze(1), key.transpose(2, 3)) + shifted) * self.scale
    mixed = torch.matmul(torch.softmax(scores if bias is None else scores + bias, dim=-1), value)
    result: Tensor = self.linear_out(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.dim_head))
    return result


@contextmanager
def plain_layers() -> Iterator[None]:
    """Write the networks as a port would."""
    with (
        mock.patch.object(convolutions, "convolution", padded_convolution),
        mock.patch.object(Snake, "forward", plain_snake),
        mock.patch.object(Source, "forward", plain_source),
        mock.patch.object(RelativeAttention, "forward", plain_attention),
        mock.patch.object(lookahead, "causal_convolution", padded_causal),
        mock.patch.object(upsampling, "causal_convolution", padded_causal),
    ):
        yield


def exported(subject: Subject, sizes: dict[str, int], *, plain: bool) -> tuple[onnx.ModelProto, int]:
    """Return the simplified graph, and the number of nodes before simplification."""
    module = load_module(subject, None)
    settings = ExportSettings(opset=OPSET)
    if not plain:
        model, _ = export_graph(prepare_for_export(module), subject.spec, settings, sizes)
    else:
        for part in list(module.modules()):
            if isinstance(part, convolutions.NormedConvolution | convolutions.NormedTransposedConvolution):
                weight_norm(part)
        with plain_layers():
            model, _ = export_graph(_kept(module), subject.spec, settings, sizes)
    simplified, same = onnxsim.simplify(model)
    assert same
    return simplified, len(model.graph.node)


def _kept(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False).eval()


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compared(component: ComponentName, version: int, options: argparse.Namespace) -> list[object]:
    family = Family(f"cosyvoice{version}")
    subject = resolve_subject(ModelSettings(family=family), None, False, component)
    frames = options.frames
    per_frame = {symbol: subject.spec.axis(symbol).per_frame for symbol in subject.spec.symbols}
    sizes = {symbol: frames if each is None else max(1, round(each * frames)) for symbol, each in per_frame.items()}
    sizes = {symbol: 3 if symbol == "lookahead" else size for symbol, size in sizes.items()}
    graphs = [exported(subject, sizes, plain=plain) for plain in (False, True)]
    sessions = [session(model) for model, _ in graphs]
    inputs = draw_inputs(subject.spec, Draw(sizes))
    taken = [{one.name: inputs[one.name] for one in each.get_inputs()} for each in sessions]
    if component is ComponentName.frontend:  # a plain vocoder's phases drift
        own, other = (each.run(["mu"], given)[0] for each, given in zip(sessions, taken, strict=True))
        assert snr_db(other, own) > 60, "both graphs compute the same function"
    times: list[list[float]] = [[], []]
    for index in range(options.rounds + 1):
        for one in (0, 1) if index % 2 else (1, 0):
            begin = time.process_time()
            sessions[one].run(None, taken[one])
            if index:  # the first round warms up
                times[one].append(time.process_time() - begin)
    ratios = [plain / own for own, plain in zip(*times, strict=True)]
    seconds = frames / (subject.spec.frames_per_second or 1)
    nodes = [f"{before:,} / {len(model.graph.node):,}" for model, before in graphs]
    own, plain = (statistics.median(each) for each in times)
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [family.value, *nodes, f"{own:.3f} s", f"{plain:.3f} s", ratio, f"{own / seconds:.3f}"]


def report(directory: Path) -> Iterator[list[object]]:
    found: dict[str, Any] = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    for step in found["steps"]:
        memory = (step.get("peak_bytes") or 0) / 1e6
        yield [directory.name.rpartition("-")[0], step["label"], f"{step['seconds']:.1f} s", f"{memory:,.0f} MB"]


def table(head: list[str], rows: Iterator[list[object]]) -> None:
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["vocoder", "frontend", "report"])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--versions", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.what == "report":
        table(["run", "step", "time", "peak memory"], (row for run in options.runs for row in report(run)))
        return
    head = [
        "model",
        "nodes, exported / simplified",
        "of the plain module",
        "time",
        "plain",
        "plain / own",
        "real-time factor",
    ]
    rows = (compared(ComponentName(options.what), version, options) for version in options.versions)
    table(head, rows)


if __name__ == "__main__":
    main()
