"""The inputs and outputs of a model as data, for export, verification, profiles and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: its name in the ONNX graph.
        shape: a fixed size or a symbol for each axis, e.g. `(2, 80, "seq_len")`.
        dtype: `float32`, `float16`, `bfloat16`, `int32`, `int64` or `bool`.
        generator: how realistic values are made (see `numerics.inputs`): `normal`, `uniform`,
            `mel`, `mask`, `time`, `integer`, `ones`.
        low, high: the range of `uniform`, `time` and `integer` (high excluded for integers).
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    generator: str = "normal"
    low: float = 0.0
    high: float = 1.0

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Axis -> symbol, for the axes that vary."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, str)}

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with every symbol replaced.

        Raises:
            KeyError: a symbol has no size in `sizes`.
        """
        return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.shape)


@dataclass(frozen=True)
class ModelSpec:
    """All inputs and outputs, in the order in which the runtime binds them.

    Attributes:
        inputs, outputs: in binding order.
        guidance: the batch holds pairs for classifier-free guidance: the first half conditional, the
            second half with mu, spks and cond zero (contract of the CosyVoice solver).
        frames_per_second: steps of the symbol `seq_len` in one second; None where it is not a time.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    guidance: bool = False
    frames_per_second: float | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the varying dimensions, in order of appearance in the inputs."""
        seen: dict[str, None] = {}
        for tensor in self.inputs:
            for symbol in tensor.dynamic_axes.values():
                seen.setdefault(symbol)
        return tuple(seen)

    def input(self, name: str) -> TensorSpec:
        """Return the input of that name.

        Raises:
            KeyError: there is none.
        """
        for tensor in self.inputs:
            if tensor.name == name:
                return tensor
        raise KeyError(name)
