"""The types in which the layers of a compiled IR compute, and the check of these types against the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.backends.openvino.kept_in_fp32 import PRODUCTS, Kept

_LOW = {"bf16": "bf16", "fp16": "f16"}
"""Precision of an IR -> OpenVINO's name of the type."""
_FLOATS = ("f32", "bf16", "f16")
_NO_WORK = frozenset(["Const", "Input", "Output", "Reorder", "Convert", "ShapeOf"])
"""Layers that only hold or convert values."""
_MOVES = frozenset(["Reshape", "Transpose", "Concatenation", "Split", "Gather", "Broadcast", "StridedSlice", "Tile"])
_PRODUCT_LAYERS = frozenset(
    [
        "FullyConnected", "MatMul", "Convolution", "Deconvolution", "ScaledDotProductAttention", "MHA", "QKVProjection",
        "LLMMLP", "RNNSeq", "RNNCell",
    ]
)  # fmt: skip
_LISTED = 5
_MOST_DROPPED = 0.1
"""Limit on the share of layers that compute in a smaller type, among those that must compute in float32."""


@dataclass(frozen=True)
class Layer:
    """One layer of a compiled IR. OpenVINO may fuse several operators of the IR to one layer.

    Attributes:
        kind: the layer's type, e.g. `FullyConnected`.
        dtype: the type in which the layer computes: `f32`, `bf16` or `f16`.
        operators: name -> type, for the operators of the IR that are fused in the layer.
    """

    kind: str
    dtype: str
    operators: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the layer's first operator; the layer's type if it has none."""
        return next(iter(self.operators), self.kind)

    @property
    def has_products(self) -> bool:
        """True if the layer computes a matrix product or a convolution."""
        # A layer that OpenVINO fused from a product and an addition may have the type of the addition only.
        return self.kind in _PRODUCT_LAYERS or any(kind in PRODUCTS for kind in self.operators.values())

    def is_named(self, kept: Kept) -> bool:
        """Return True if a glob pattern of `ov.keep_fp32` matches one of the operators.

        The words `arithmetic` and `phases` do not count, because they are not patterns.
        """
        return any(kept.names(name, kind) for name, kind in self.operators.items())

    def is_kept(self, kept: Kept) -> bool:
        """Return True if all of the operators must compute in float32."""
        return bool(self.operators) and all(kept.holds(name, kind) for name, kind in self.operators.items())


def layers_of(compiled: Any, kinds: Mapping[str, str]) -> tuple[Layer, ...]:
    """Return the layers of a compiled IR that compute floating-point values.

    Args:
        compiled: OpenVINO's compiled model.
        kinds: name -> type, for all operators of the IR.
    """
    return tuple(_layers(compiled, kinds))


def _layers(compiled: Any, kinds: Mapping[str, str]) -> Iterator[Layer]:
    for operator in compiled.get_runtime_model().get_ordered_ops():
        facts = operator.get_rt_info()
        kind, dtype = facts["layerType"].astype(str), facts["runtimePrecision"].astype(str)
        if kind in _NO_WORK or dtype not in _FLOATS:
            continue
        names = facts["originalLayersNames"].astype(str).split(",")
        yield Layer(kind, dtype, {name: kinds[name] for name in names if name in kinds})


def facts_of(layers: Sequence[Layer]) -> dict[str, Any]:
    """Count the layers by their type and computed type, and those with matrix products, as plain data."""
    counted: dict[str, dict[str, int]] = {}
    for (kind, dtype), number in sorted(Counter((layer.kind, layer.dtype) for layer in layers).items()):
        counted.setdefault(kind, {})[dtype] = number
    products = Counter(layer.dtype for layer in layers if layer.has_products)
    return {"layers": counted, "products": dict(sorted(products.items()))}


def unmet(layers: Sequence[Layer], precision: str, kept: Kept, max_fp32_share: float) -> list[str]:
    """Return one sentence for each way in which a compiled IR does not compute as the settings demand.

    Args:
        layers: the layers of the compiled IR.
        precision: `fp32`, `bf16` or `fp16`.
        kept: the operators that must compute in float32.
        max_fp32_share: of the layers with matrix products that are not in `kept`, the largest share that may compute in
            another type than `precision`.
    """
    low = _LOW.get(precision)
    if low is None:
        smaller = [layer for layer in layers if layer.dtype != "f32"]
        return [f"{_some(smaller)} compute in {_types(smaller)}, and ov.precision=fp32 is set"] if smaller else []
    found = []
    products = [layer for layer in layers if layer.has_products and not layer.is_named(kept)]
    other = [layer for layer in products if layer.dtype != low]
    if products and len(other) > max_fp32_share * len(products):
        found.append(
            f"ov.precision={precision} is set, but {len(other)} of {len(products)} layers with matrix products "
            f"compute in {_types(other)} (allowed: {max_fp32_share:.0%}), such as {_some(other)}"
        )
    found += [f"{reason}: {_some(wrong)} in {_types(wrong)}" for reason, wrong in _wrongly_small(layers, kept) if wrong]
    return found


def _wrongly_small(layers: Sequence[Layer], kept: Kept) -> Iterator[tuple[str, list[Layer]]]:
    """Yield a reason, and the layers that compute in a smaller type although `ov.keep_fp32` matches their operators."""
    yield (
        "ov.keep_fp32 has a pattern for products that OpenVINO computes in a smaller type all the same (where weights "
        "are stored in float16, it does so; ov.weights=fp32 may help)",
        [layer for layer in layers if layer.dtype != "f32" and layer.has_products and layer.is_named(kept)],
    )
    yield (
        "arguments of sines are computed in a smaller type",
        [layer for layer in layers if layer.dtype != "f32" and any(map(kept.is_phase, layer.operators))],
    )
    # OpenVINO replaces a few operators and thereby loses their attribute: one of 160 in CosyVoice 2.
    several = [layer for layer in layers if layer.kind not in _MOVES and not layer.has_products and layer.is_kept(kept)]
    smaller = [layer for layer in several if layer.dtype != "f32"]
    yield (
        f"ov.keep_fp32 matches {len(several)} layers, of which {len(smaller)} compute in a smaller type",
        smaller if len(smaller) > _MOST_DROPPED * len(several) else [],
    )


def _some(layers: Sequence[Layer]) -> str:
    more = f" and {len(layers) - _LISTED} more" if len(layers) > _LISTED else ""
    return f"{', '.join(f'{layer.name} ({layer.kind})' for layer in layers[:_LISTED])}{more}"


def _types(layers: Sequence[Layer]) -> str:
    return " and ".join(sorted({layer.dtype for layer in layers}))
