"""Read the vocoder's hyper-parameters from a CosyVoice model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.vocoder.interface import WEIGHTS
from cosybuild.models.cosyvoice.vocoder.parameters import (
    Interpolation,
    VocoderParameters,
    with_values,
)
from cosybuild.models.directory.hyperpyyaml import Node, mapping
from cosybuild.models.directory.reader import refused
from cosybuild.models.directory.version import find_yaml

PLAIN_CLASS = "HiFTGenerator"
CAUSAL_CLASS = "CausalHiFTGenerator"

F0_CLASSES = {PLAIN_CLASS: "ConvRNNF0Predictor", CAUSAL_CLASS: "CausalConvRNNF0Predictor"}
"""The class of the f0 predictor that each class of vocoder has."""

EXACT_RATE = 22050
"""The sampling rate, in Hz, at which CosyVoice uses the class `SineGen`. At other rates it uses `SineGen2`."""

_OPTIONAL = {"conv_pre_look_right"}
_NESTED = {"istft_params", "f0_predictor"}
_NAMES = (
    "in_channels", "base_channels", "nb_harmonics", "sampling_rate", "nsf_alpha", "nsf_sigma", "nsf_voiced_threshold",
    "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes", "resblock_dilation_sizes",
    "source_resblock_kernel_sizes", "source_resblock_dilation_sizes", "lrelu_slope", "audio_limit",
)  # fmt: skip


@dataclass(frozen=True)
class VocoderDirectory:
    """The content of a model directory about its vocoder.

    Attributes:
        yaml: the path of the yaml.
        parameters: the hyper-parameters in the yaml.
        weights: the path of hift.pt in the directory, which may be missing.
    """

    yaml: Path
    parameters: VocoderParameters
    weights: Path


def read_vocoder(path: Path) -> VocoderDirectory:
    """Read the vocoder's hyper-parameters from a model directory.

    Raises:
        ModelDirectoryError: there is no yaml, the yaml has no vocoder or one of an unknown class, or a value is not
            valid.
    """
    found = find_yaml(path)
    return VocoderDirectory(found.path, _parameters(found.path, found.document), path / WEIGHTS)


def vocoder_hyperparameters(yaml: Path, _: Family, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of the vocoder as plain data, by the names of `VocoderParameters`.

    Args:
        yaml: path of the yaml, for error messages.
        document: the parsed content of the yaml.

    Raises:
        ModelDirectoryError: the yaml has no vocoder or one of an unknown class, or a value is not valid.
    """
    return asdict(_parameters(yaml, document))


def _parameters(yaml: Path, document: Mapping[str, Any]) -> VocoderParameters:
    """Return the vocoder's hyper-parameters. Its class and its sampling rate select one of three variants."""
    node = document.get("hift")
    if not isinstance(node, Node):
        raise refused(yaml, "hift is not a `!new:` node")
    kind = node.target.rpartition(".")[2]
    if kind not in F0_CLASSES:
        raise refused(yaml, f"the vocoder is a {kind}, where one of {', '.join(F0_CLASSES)} is expected")
    stated = mapping(node)
    base = _form(yaml, kind, stated)
    try:
        return with_values(base, _values(yaml, kind, stated))
    except ValueError as error:
        raise refused(yaml, f"the vocoder's {error}") from error


def _form(yaml: Path, kind: str, stated: Mapping[str, Any]) -> VocoderParameters:
    if kind == CAUSAL_CLASS:
        return VocoderParameters(causal=True, interpolation=Interpolation.nearest)
    if "sampling_rate" not in stated:
        raise refused(yaml, "the vocoder lacks sampling_rate")
    exact = stated["sampling_rate"] == EXACT_RATE
    return VocoderParameters(causal=False, interpolation=Interpolation.exact if exact else Interpolation.linear)


def _values(yaml: Path, kind: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the vocoder's arguments in the yaml, by the names of `VocoderParameters`.

    Args:
        yaml: path of the yaml, for error messages.
        kind: the vocoder's class.
        stated: the arguments of the vocoder's node.
    """
    optional = _OPTIONAL if kind == CAUSAL_CLASS else set()
    if unknown := sorted(set(stated) - set(_NAMES) - _NESTED - optional):
        raise refused(yaml, f"the vocoder has arguments that are not known here: {', '.join(unknown)}")
    if missing := [name for name in (*_NAMES, *sorted(_NESTED)) if name not in stated]:
        raise refused(yaml, f"the vocoder lacks {', '.join(missing)}")
    transform = mapping(stated["istft_params"])
    predictor = stated["f0_predictor"]
    if not isinstance(predictor, Node) or predictor.target.rpartition(".")[2] != F0_CLASSES[kind]:
        raise refused(yaml, f"the f0 predictor is no `!new:` node of {F0_CLASSES[kind]}, which a {kind} has")
    f0 = mapping(predictor)
    nested = {name: transform.get(name) for name in ("n_fft", "hop_len")} | {"f0_channels": f0.get("cond_channels")}
    if lacking := [name for name, value in nested.items() if value is None]:
        raise refused(yaml, f"the vocoder lacks {', '.join(lacking)}")
    if f0.get("in_channels", stated["in_channels"]) != stated["in_channels"] or f0.get("num_class", 1) != 1:
        raise refused(yaml, "the f0 predictor reads another mel than the vocoder, or predicts more than one value")
    return {**{name: stated[name] for name in (*_NAMES, *sorted(optional)) if name in stated}, **nested}
