"""Specifications that the tests of this directory share."""

from __future__ import annotations

from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec


def estimator_spec(batch: int | str = 2, mel: int = 8) -> ModelSpec:
    wide = (batch, mel, "seq_len")
    return ModelSpec(
        inputs=(
            TensorSpec("x", wide),
            TensorSpec("mask", (batch, 1, "seq_len"), generator="mask"),
            TensorSpec("mu", wide),
            TensorSpec("t", (batch,), generator="time"),
            TensorSpec("spks", (batch, mel)),
            TensorSpec("cond", wide, generator="mel"),
        ),
        outputs=(TensorSpec("estimator_out", wide),),
        guidance=True,
        frames_per_second=50.0,
    )


def text_spec() -> ModelSpec:
    """Return a specification with two dynamic axes besides the batch, and integer and boolean inputs."""
    return ModelSpec(
        inputs=(
            TensorSpec("tokens", ("batch", "length"), "int64", "integer", 0, 100),
            TensorSpec("keep", ("batch", "length"), "bool", "ones"),
            TensorSpec("memory", ("batch", "frames", 16), generator="uniform", low=-2.0, high=-1.0),
        ),
        outputs=(TensorSpec("logits", ("batch", "length", 100)),),
    )


DEFAULT = {"seq_len": SizeRange(4, 500, 3000)}
