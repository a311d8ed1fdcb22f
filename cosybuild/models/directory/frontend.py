"""Read the front end's hyper-parameters from a model directory's yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.frontend.hyperparameters import PUBLISHED, front_end_fault
from cosybuild.models.directory.hyperpyyaml import Node, mapping
from cosybuild.models.directory.reader import refused

_FLOWS = {
    Family.cosyvoice1: "MaskedDiffWithXvec",
    Family.cosyvoice2: "CausalMaskedDiffWithXvec",
    Family.cosyvoice3: "CausalMaskedDiffWithDiT",
}
_ENCODERS = {Family.cosyvoice1: "ConformerEncoder", Family.cosyvoice2: "UpsampleConformerEncoder"}

# Arguments of the encoders that have the same value in all published models. cosybuild implements only these values.
_FIXED = {
    "normalize_before": True,
    "input_layer": "linear",
    "pos_enc_layer_type": "rel_pos_espnet",
    "selfattention_layer_type": "rel_selfattn",
    "use_cnn_module": False,
    "macaron_style": False,
}
# Default values of CosyVoice's classes, for arguments that the yaml does not state.
_DEFAULTS = {**_FIXED, "use_cnn_module": True, "macaron_style": True, "pos_enc_layer_type": "rel_pos"}
_DROPOUTS = {"dropout_rate", "positional_dropout_rate", "attention_dropout_rate"}
_RENAMED = {"encoder_size": "output_size", "chunk_size": "static_chunk_size"}
_OF_ENCODER = ("encoder_size", "attention_heads", "linear_units", "num_blocks", "chunk_size")
# Only the streaming variant needs `chunk_size`. CosyVoice's class has no argument for `up_blocks`.
_OPTIONAL = {"chunk_size", "up_blocks"}


def front_end_hyperparameters(yaml: Path, family: Family, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of the front end, with the names of `frontend.hyperparameters.PUBLISHED`.

    Args:
        yaml: path of the yaml, for error messages.
        family: the CosyVoice version.
        document: the parsed content of the yaml.

    Raises:
        ModelDirectoryError: the network is of another class, or a value is missing or not valid.
    """
    flow = _node(yaml, document, "flow", _FLOWS[family])
    stated = {name: flow[name] for name in PUBLISHED[family] if name in flow}
    if family in _ENCODERS:
        encoder = _node(yaml, flow, "encoder", _ENCODERS[family], "flow -> ")
        _check_fixed(yaml, encoder, {*_DROPOUTS, *_FIXED, "input_size", *(_RENAMED.get(n, n) for n in _OF_ENCODER)})
        stated.update({n: encoder[_RENAMED.get(n, n)] for n in _OF_ENCODER if _RENAMED.get(n, n) in encoder})
        _check_equal(yaml, "flow -> encoder -> input_size", encoder.get("input_size"), flow.get("input_size"))
    if family is Family.cosyvoice1:
        if stated.pop("chunk_size", 0):
            raise refused(yaml, "the encoder has static_chunk_size, which version 1 does not have")
        regulator = _node(yaml, flow, "length_regulator", "InterpolateRegulator", "flow -> ")
        stated["sampling_ratios"] = regulator.get("sampling_ratios")
        _check_equal(yaml, "flow -> length_regulator -> channels", regulator.get("channels"), flow.get("output_size"))
    if family is Family.cosyvoice3:
        layer = _node(yaml, flow, "pre_lookahead_layer", "PreLookaheadLayer", "flow -> ")
        stated["channels"] = layer.get("channels")
        for name, other in (("in_channels", "input_size"), ("pre_lookahead_len", "pre_lookahead_len")):
            _check_equal(yaml, f"flow -> pre_lookahead_layer -> {name}", layer.get(name), flow.get(other))
    return _checked(yaml, family, stated)


def _checked(yaml: Path, family: Family, stated: Mapping[str, Any]) -> dict[str, Any]:
    known = PUBLISHED[family]
    missing = [name for name in known if stated.get(name) is None and name not in _OPTIONAL]
    if missing:
        raise refused(yaml, f"the front end lacks {', '.join(missing)}")
    values = {name: stated.get(name, published) for name, published in known.items()}
    if (fault := front_end_fault(family, values)) is not None:
        raise refused(yaml, f"the front end's {fault}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _node(yaml: Path, parent: Mapping[str, Any], name: str, expected: str, place: str = "") -> Mapping[str, Any]:
    """Return the arguments of the `!new:` node `name` of `parent`.

    Args:
        yaml: path of the yaml, for error messages.
        parent: the mapping that contains the node.
        name: the key of the node.
        expected: the class that the node must have, without its module.
        place: the path of `parent` in the document, for error messages, e.g. `flow -> `.

    Raises:
        ModelDirectoryError: the value is not a node of this class.
    """
    node = parent.get(name)
    if not isinstance(node, Node):
        raise refused(yaml, f"{place}{name} is not a `!new:` node")
    found = node.target.rpartition(".")[2]
    if found != expected:
        raise refused(yaml, f"{place}{name} is a {found}, where a {expected} is expected")
    return mapping(node)


def _check_fixed(yaml: Path, encoder: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(encoder) - known)
    if unknown:
        raise refused(yaml, f"the encoder has arguments that are not known here: {', '.join(unknown)}")
    for name, expected in _FIXED.items():
        found = encoder.get(name, _DEFAULTS[name])
        if found != expected:
            raise refused(yaml, f"the encoder's {name} is {found!r}, where {expected!r} is expected")


def _check_equal(yaml: Path, place: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise refused(yaml, f"{place} is {found!r}, where the flow's own value, {expected!r}, is expected")
