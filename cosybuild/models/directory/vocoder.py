"""The reader of the vocoder in a CosyVoice model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import CheckpointError, ModelDirectoryError
from cosybuild.models.cosyvoice.vocoder.parameters import (
    Interpolation,
    VocoderParameters,
    with_values,
)
from cosybuild.models.directory.hyperpyyaml import Node, read_hyperpyyaml
from cosybuild.models.directory.reader import find_yaml

WEIGHTS = ("hift.pt", "hift.safetensors")

PLAIN_CLASS = "HiFTGenerator"
CAUSAL_CLASS = "CausalHiFTGenerator"

F0_CLASSES = {PLAIN_CLASS: "ConvRNNF0Predictor", CAUSAL_CLASS: "CausalConvRNNF0Predictor"}
"""Class of a vocoder -> class of its f0 predictor."""

EXACT_RATE = 22050
"""At this sampling rate upstream takes the first form of the sine generator, at any other the second."""

_OPTIONAL = {"conv_pre_look_right"}
_NESTED = {"istft_params", "f0_predictor"}
_NAMES = (
    "in_channels", "base_channels", "nb_harmonics", "sampling_rate", "nsf_alpha", "nsf_sigma", "nsf_voiced_threshold",
    "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes", "resblock_dilation_sizes",
    "source_resblock_kernel_sizes", "source_resblock_dilation_sizes", "lrelu_slope", "audio_limit",
)  # fmt: skip


@dataclass(frozen=True)
class VocoderDirectory:
    """The facts in a model directory about its vocoder.

    Attributes:
        yaml: the file it was read from.
        parameters: the hyper-parameters, as the yaml states them.
        weights: hift.pt, or hift.safetensors.
    """

    yaml: Path
    parameters: VocoderParameters
    weights: Path


def read_vocoder(path: Path) -> VocoderDirectory:
    """Read the vocoder's hyper-parameters from a model directory; its class decides on the form, not the version.

    Raises:
        ModelDirectoryError: no yaml, no vocoder in it, one of another class, or a value that is not valid.
        CheckpointError: there are no weights.
    """
    _, yaml = find_yaml(path)
    node = read_hyperpyyaml(yaml).get("hift")
    if not isinstance(node, Node):
        raise _bad(yaml, "hift is not a `!new:` node")
    kind = node.target.rpartition(".")[2]
    if kind not in F0_CLASSES:
        raise _bad(yaml, f"the vocoder is a {kind}, where one of {', '.join(F0_CLASSES)} is expected")
    stated = _mapping(node.arguments)
    base = _form(yaml, kind, stated)
    try:
        parameters = with_values(base, _values(yaml, kind, stated))
    except ValueError as error:
        raise _bad(yaml, f"the vocoder's {error}") from error
    weights = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise CheckpointError(
            f"{path} has {yaml.name} but neither {' nor '.join(WEIGHTS)}.",
            hint="Next: fetch the weights, or name them with model.weights=FILE.",
        )
    return VocoderDirectory(yaml, parameters, weights)


def _form(yaml: Path, kind: str, stated: Mapping[str, Any]) -> VocoderParameters:
    if kind == CAUSAL_CLASS:
        return VocoderParameters(causal=True, interpolation=Interpolation.nearest)
    if "sampling_rate" not in stated:
        raise _bad(yaml, "the vocoder lacks sampling_rate")
    exact = stated["sampling_rate"] == EXACT_RATE
    return VocoderParameters(causal=False, interpolation=Interpolation.exact if exact else Interpolation.linear)


def _values(yaml: Path, kind: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stated values by the names of `VocoderParameters`."""
    optional = _OPTIONAL if kind == CAUSAL_CLASS else set()
    if unknown := sorted(set(stated) - set(_NAMES) - _NESTED - optional):
        raise _bad(yaml, f"the vocoder has arguments that are not known here: {', '.join(unknown)}")
    if missing := [name for name in (*_NAMES, *sorted(_NESTED)) if name not in stated]:
        raise _bad(yaml, f"the vocoder lacks {', '.join(missing)}")
    transform = _mapping(stated["istft_params"])
    predictor = stated["f0_predictor"]
    if not isinstance(predictor, Node) or predictor.target.rpartition(".")[2] != F0_CLASSES[kind]:
        raise _bad(yaml, f"the f0 predictor is no `!new:` node of {F0_CLASSES[kind]}, which a {kind} has")
    f0 = _mapping(predictor.arguments)
    nested = {name: transform.get(name) for name in ("n_fft", "hop_len")} | {"f0_channels": f0.get("cond_channels")}
    if lacking := [name for name, value in nested.items() if value is None]:
        raise _bad(yaml, f"the vocoder lacks {', '.join(lacking)}")
    if f0.get("in_channels", stated["in_channels"]) != stated["in_channels"] or f0.get("num_class", 1) != 1:
        raise _bad(yaml, "the f0 predictor reads another mel than the vocoder, or predicts more than one value")
    return {**{name: stated[name] for name in (*_NAMES, *sorted(optional)) if name in stated}, **nested}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _bad(yaml: Path, what: str) -> ModelDirectoryError:
    return ModelDirectoryError(
        f"{yaml}: {what}.", hint="Next: compare the file with the one of the published model of this version."
    )
