"""The three estimators as ONNX graphs, tiny or full size, also with weights that bring activations to fp16's limit."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosybuild.config.groups.export import ExportSettings
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.cosyvoice.estimator.dit import DiT
from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator
from cosybuild.models.cosyvoice.estimator.unet import UNet
from cosybuild.models.load import prepare_for_export
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.onnxgraph.clean import clean_model
from cosybuild.onnxgraph.files import save_model

FAMILIES = ("cosyvoice1", "cosyvoice2", "cosyvoice3")


def estimator_spec(mel: int = 80) -> ModelSpec:
    wide = (2, mel, "seq_len")
    return ModelSpec(
        inputs=(
            TensorSpec("x", wide),
            TensorSpec("mask", (2, 1, "seq_len"), generator="mask"),
            TensorSpec("mu", wide),
            TensorSpec("t", (2,), generator="time"),
            TensorSpec("spks", (2, mel)),
            TensorSpec("cond", wide, generator="mel"),
        ),
        outputs=(TensorSpec("estimator_out", wide),),
        guidance=True,
    )


def estimator(family: str, *, full: bool = False, mel: int = 80, excess: float = 1.0) -> nn.Module:
    """Return an estimator with random weights of seed 0.

    Args:
        full: True for the full size, else about two blocks.
        excess: factor on the last linear layer of every second feed-forward block; thousands bring the
            residual stream to fp16's limit and beyond.
    """
    torch.manual_seed(0)
    module: nn.Module
    if family == "cosyvoice3":
        shape = {"dim": 1024, "depth": 22, "heads": 16, "dim_head": 64}
        shape = shape if full else {"dim": 64, "depth": 4, "heads": 4, "dim_head": 16}
        module = DiT(**shape, ff_mult=2, mel_dim=mel, mu_dim=mel, spk_dim=mel, static_chunk_size=50)
        last = "ff.ff.2.weight"
    else:
        causal = family == "cosyvoice2"
        width = 256 if full else 32
        blocks: dict[str, Any] = {"n_blocks": 4, "num_mid_blocks": 12, "num_heads": 8, "attention_head_dim": 64}
        blocks = blocks if full else {"n_blocks": 2, "num_mid_blocks": 2, "num_heads": 2, "attention_head_dim": 16}
        module = UNet(
            in_channels=4 * mel, out_channels=mel, channels=[width] if causal else [width, width], causal=causal,
            static_chunk_size=50, **blocks,
        )  # fmt: skip
        last = "ff.net.2.weight"
    with torch.no_grad():
        for index, (_, weight) in enumerate((n, p) for n, p in module.named_parameters() if n.endswith(last)):
            if index % 2:
                weight.mul_(excess)
    return module.eval()


def export(module: nn.Module, path: Path, *, streaming: bool = False, mel: int = 80) -> Path:
    """Write the graph as the export stage does."""
    settings = ExportSettings()
    ready = prepare_for_export(ExportableEstimator(module, streaming).eval())
    model, _ = export_graph(ready, estimator_spec(mel), settings, example_sizes(estimator_spec(mel), {}, ()))
    clean_model(model, prefix="estimator")
    return save_model(model, path)[0]


def exported(family: str, path: Path, *, excess: float = 1.0) -> Path:
    """Write the graph of `estimator(family, excess=excess)`, which each process of pytest exports once."""
    path.write_bytes(_exported(family, excess))
    return path


@cache
def _exported(family: str, excess: float) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return export(estimator(family, excess=excess), Path(directory) / "graph.onnx").read_bytes()
