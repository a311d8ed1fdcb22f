"""The tiny models as ONNX files with manifests, and a solver with upstream's calls."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosybuild.manifest import write_manifest
from cosybuild.models.cosyvoice.estimator.dit import DiT
from cosybuild.models.cosyvoice.estimator.unet import UNet
from cosybuild.models.load import prepare_for_export
from tests.exact import Exact, exact_beside, in_float64, widened

DATA = Path(__file__).resolve().parents[1] / "data"
NAMES = ("x", "mask", "mu", "t", "spks", "cond")
PREFIX = "decoder.estimator."

_UNET = {"in_channels": 32, "out_channels": 8, "n_blocks": 2, "num_mid_blocks": 2, "num_heads": 2}
_UNET |= {"attention_head_dim": 8}


def module(version: int) -> nn.Module:
    """Return the estimator of a tiny model, with its weights."""
    made: nn.Module
    if version == 1:
        made = UNet(**_UNET, channels=[16, 16], causal=False)
    elif version == 2:
        made = UNet(**_UNET, channels=[16], causal=True, static_chunk_size=10)
    else:
        sizes = {"mel_dim": 8, "mu_dim": 8, "spk_dim": 8, "static_chunk_size": 10}
        made = DiT(dim=32, depth=2, heads=2, dim_head=16, ff_mult=2, **sizes)
    weights = torch.load(DATA / f"cosyvoice{version}_tiny" / "flow.pt", weights_only=True)
    made.load_state_dict({k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)})
    return made.eval()


def golden(version: int) -> dict[str, Tensor]:
    """Return inputs and outputs of upstream's code."""
    with np.load(DATA / f"cosyvoice{version}_tiny" / "golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def golden_call(version: int, frames: int, variant: str = "full") -> tuple[list[Tensor], Exact]:
    """Return the inputs of a recorded call and its exact result, with upstream's float32 result as the yardstick."""
    data = golden(version)
    given = [data[f"T{frames}/{name}"] for name in NAMES]
    values = in_float64(module(version), *given, streaming=variant == "streaming")
    return given, exact_beside(values, data[f"T{frames}/{variant}"])


def golden_run(version: int) -> tuple[list[Tensor], Exact]:
    """Return the same for the recorded run of the solver: noise, mu, spks and cond, and the mel."""
    data = golden(version)
    given = [data[f"euler/{name}"] for name in ("z", "mu", "spks", "cond")]
    values = solve_as_upstream(widened(module(version)), *(tensor.double() for tensor in given))
    return given, exact_beside(values.detach().numpy(), data["euler/mel"])


class _Frozen(nn.Module):
    def __init__(self, inner: nn.Module, streaming: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.streaming, self.dtype = inner, streaming, dtype

    def forward(self, *tensors: Tensor) -> Tensor:
        result: Tensor = self.inner(*(tensor.float() for tensor in tensors), streaming=self.streaming)
        return result.to(self.dtype)


def inputs(frames: int, seed: int = 0, batch: int = 2) -> dict[str, Tensor]:
    """Draw inputs; a quarter of the last row is padding."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"x": (batch, 8, frames), "mu": (batch, 8, frames), "spks": (batch, 8), "cond": (batch, 8, frames)}
    made = {name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}
    mask = torch.ones(batch, 1, frames)
    mask[-1, :, frames - frames // 4 :] = 0
    made |= {"mask": mask, "t": torch.rand(1, generator=random).expand(batch).clone()}
    return {name: made[name] for name in NAMES}


def write_graph(
    path: Path, version: int = 2, *, streaming: bool = False, dtype: torch.dtype = torch.float32, batch: bool = False
) -> Path:
    """Write an ONNX file of a tiny model, without a manifest; it computes in float32 for any types of its tensors."""
    example = tuple(tensor.to(dtype) for tensor in inputs(23).values())
    axes = {name: {2: "seq_len"} for name in ("x", "mask", "mu", "cond", "estimator_out")}
    if batch:
        axes = {name: {0: "batch", **axes.get(name, {})} for name in (*NAMES, "estimator_out")}
    estimator = prepare_for_export(module(version).requires_grad_(False))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's warnings about shapes that are fixed on purpose
        torch.onnx.export(
            _Frozen(estimator, streaming, dtype),
            example,
            str(path),
            input_names=list(NAMES),
            output_names=["estimator_out"],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    return path


def certify(path: Path, **facts: Any) -> Path:
    """Write a manifest beside `path`, by default of a verified artifact with full attention."""
    streaming = facts.pop("streaming", False)
    write_manifest(path, {"verified": True, "model": {"streaming": streaming}, **facts})
    return path


def solve_as_upstream(estimator: Any, noise: Tensor, mu: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
    """Make ten Euler steps with guidance; as in upstream, each tensor has one buffer that every step fills again.

    The computation is in the type of `noise`.
    """
    _, channels, frames = noise.shape
    grid = (1 - torch.cos(torch.linspace(0, 1, 11) * 0.5 * math.pi)).to(noise)
    x, t = noise, grid[0]
    given = {name: noise.new_zeros(2, channels, frames) for name in ("x", "mu", "cond")}
    given |= {"mask": noise.new_zeros(2, 1, frames), "t": noise.new_zeros(2), "spks": noise.new_zeros(2, channels)}
    for index in range(1, 11):
        given["x"][:] = x
        given["mask"][:] = 1
        given["mu"][0], given["spks"][0], given["cond"][0] = mu[0], spks[0], cond[0]
        given["t"][:] = t
        velocity = estimator(*(given[name] for name in NAMES), streaming=False)
        guided, free = torch.split(velocity, [1, 1], dim=0)
        dt = grid[index] - t
        x = x + dt * ((1.0 + 0.7) * guided - 0.7 * free)
        t = t + dt
    return x
