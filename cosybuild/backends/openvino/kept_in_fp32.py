"""The operators of an IR that must compute in float32 although the precision is smaller (`ov.keep_fp32`).

An attribute of an operator forbids OpenVINO to convert its type. It is written into the XML file of the IR, under the
name that OpenVINO itself uses there. `executed_types.py` checks the types of the compiled model.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from cosybuild.config.groups.openvino import ARITHMETIC, PHASES
from cosybuild.errors import ConfigurationError

PRODUCTS = frozenset(
    ["MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"]
)
"""The types of operators that compute matrix products or convolutions."""

_NO_ARITHMETIC = frozenset(["Constant", "Parameter", "Result", "ShapeOf", "Range", "Convert", "ConvertLike"])
_MOVES = frozenset(
    [
        "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Split", "VariadicSplit", "Slice", "StridedSlice",
        "Gather", "GatherElements", "GatherND", "Broadcast", "Tile", "Pad", "Select", "ScatterNDUpdate", "Reverse",
    ]
)  # fmt: skip
_ATTENTION = frozenset(["Softmax", "ScaledDotProductAttention"])
"""Softmax is not kept, because OpenVINO fuses it with the products around it. Without the fusion, attention takes
several times as long.
"""

_ATTRIBUTE = "DisablePrecisionConversion"
"""The attribute that makes OpenVINO compute an operator in float32. Its value forbids float16; it has this effect for
bfloat16 too.
"""

_IN_16_BITS = PRODUCTS | _NO_ARITHMETIC | _MOVES | _ATTENTION


@dataclass(frozen=True)
class Kept:
    """The choice of the operators that must compute in float32.

    Attributes:
        patterns: the setting `ov.keep_fp32`: glob patterns, and the words `arithmetic` and `phases`.
        phases: the names of the operators that compute arguments of sines.
    """

    patterns: Sequence[str]
    phases: frozenset[str] = frozenset()

    def holds(self, name: str, kind: str) -> bool:
        """Return True if the operator must compute in float32.

        Args:
            name: the operator's name, which is that of the node of the ONNX graph.
            kind: the operator's type in OpenVINO, e.g. `MatMul`.
        """
        return any(self._matches(pattern, name, kind) for pattern in self.patterns)

    def names(self, name: str, kind: str) -> bool:
        """Return True if a glob pattern matches the operator; the words `arithmetic` and `phases` do not count."""
        patterns = [pattern for pattern in self.patterns if pattern not in (ARITHMETIC, PHASES)]
        return any(self._matches(pattern, name, kind) for pattern in patterns)

    def is_phase(self, name: str) -> bool:
        """Return True if the word `phases` is set and the operator computes the argument of a sine."""
        return PHASES in self.patterns and name in self.phases

    def _matches(self, pattern: str, name: str, kind: str) -> bool:
        if pattern == PHASES:
            return name in self.phases
        if kind in _NO_ARITHMETIC:
            return False
        if pattern == ARITHMETIC:
            return kind not in _IN_16_BITS
        return fnmatchcase(name, pattern) or fnmatchcase(kind, pattern)


def type_name(written: str) -> str:
    """Return the type of an operator as OpenVINO's API names it. An IR file has other names for two types."""
    return {"SoftMax": "Softmax", "Const": "Constant"}.get(written, written)


def mark_kept(path: Path, kept: Kept) -> int:
    """Write the attribute into every operator of an IR that must compute in float32, and return their number.

    Args:
        path: the .xml file, which is overwritten.
        kept: the choice of operators.

    Raises:
        ConfigurationError: a pattern matches no operator.
    """
    if not kept.patterns:
        return 0
    tree = ElementTree.parse(path)  # noqa: S314  # OpenVINO has just written the file
    layers = [(layer.get("name", ""), type_name(layer.get("type", "")), layer) for layer in tree.iter("layer")]
    for pattern in kept.patterns:
        # A model without a sine has no operators that `phases` could match.
        if pattern != PHASES and not any(Kept([pattern]).holds(name, kind) for name, kind, _ in layers):
            raise ConfigurationError(
                f"ov.keep_fp32 has the pattern '{pattern}', which matches no operator of the IR.",
                hint="Next: name an operator or a type of the IR, such as "
                f"{', '.join(sorted({kind for _, kind, _ in layers} & PRODUCTS)) or 'MatMul'}, or the word arithmetic.",
            )
    marked = [layer for name, kind, layer in layers if kept.holds(name, kind)]
    for layer in marked:
        _forbid_conversion(layer)
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return len(marked)


def _forbid_conversion(layer: ElementTree.Element) -> None:
    found = layer.find("rt_info")
    if found is None:
        found = ElementTree.Element("rt_info")
        layer.insert(1 if layer.find("data") is not None else 0, found)
    for attribute in list(_attributes(found)):
        found.remove(attribute)
    ElementTree.SubElement(found, "attribute", {"name": _ATTRIBUTE, "version": "0", "value": "dynamic:f16"})


def _attributes(found: ElementTree.Element) -> Iterator[ElementTree.Element]:
    yield from (one for one in found.iter("attribute") if one.get("name") == _ATTRIBUTE)
