"""The inputs and outputs of a model as data, for export, verification, profiles and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cosybuild.models.dimension import size_of, symbols_of


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: its name in the ONNX graph.
        shape: a fixed size, a symbol or a sum of them for each axis, e.g. `(2, 80, "seq_len")` or `(1, "past + 1")`;
            empty for a scalar.
        dtype: a name of `dtypes.DTYPES`.
        generator: how realistic values are made (see `numerics.inputs`): `normal`, `uniform`,
            `mel`, `speech`, `speech_frames`, `fbank`, `whisper`, `mask`, `time`, `integer`, `length`, `ones`.
        low, high: the range of `uniform`, `time` and `integer` (high excluded for integers).
        kind: the kind of an output's values, which has metrics and gates of its own (`numerics.metrics.Kind`).
        is_index: True if integers are indices of a table of fixed size: a runtime must refuse values outside the range,
            because a graph cannot report them. False if the range limits only what tests draw.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    generator: str = "normal"
    low: float = 0.0
    high: float = 1.0
    kind: str = "any"
    is_index: bool = True

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Axis -> symbol or sum, for the axes that vary."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, str)}

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with every symbol replaced.

        Raises:
            KeyError: a symbol has no size in `sizes`.
        """
        return tuple(size_of(dim, sizes) for dim in self.shape)


@dataclass(frozen=True)
class Axis:
    """The facts of one dynamic axis; an axis without an entry in `ModelSpec.axes` has the default values.

    Attributes:
        per_second: positions along the axis per second, for sizes that are stated as durations; None if the axis is
            not a time axis.
        per_frame: positions along the axis per frame of a profile that states only `seq_len`; None if the size does
            not depend on `seq_len`.
        least: the smallest size, 0 or 1.
        most: the largest size; None if there is no limit.
        sizes: min, opt and max where a profile states none; empty if the axis has none of its own.
        boundaries: sizes at which the computation changes, which verification tries.
    """

    per_second: float | None = None
    per_frame: float | None = None
    least: int = 1
    most: int | None = None
    sizes: tuple[int, ...] = ()
    boundaries: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """All inputs and outputs, in the order in which the runtime binds them.

    Attributes:
        inputs, outputs: the tensors in binding order.
        guidance: True if the batch holds pairs for classifier-free guidance: the first half conditional, the
            second half with mu, spks and cond zero (contract of the CosyVoice solver).
        frames_per_second: steps of the symbol `seq_len` in one second; None if it is not a time axis.
        axes: symbol -> its sizes, for the axes that differ from `Axis()`.
        norms: epsilon, as `epsilon_text` writes it -> number of layer normalisations with it in the graph; empty where
            that is not known. A wrong epsilon has no visible effect on outputs if the variance is large.
        float32_io: True if the inputs and outputs of a lowered graph stay float32, whatever `precision.io` is.
        float32_modules: pattern of module paths -> reason why these modules stay in float32 in a lowered graph.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    guidance: bool = False
    frames_per_second: float | None = None
    axes: Mapping[str, Axis] = field(default_factory=dict, hash=False)
    norms: Mapping[str, int] = field(default_factory=dict, hash=False)
    float32_io: bool = False
    float32_modules: Mapping[str, str] = field(default_factory=dict, hash=False)

    def facts(self) -> dict[str, Any]:
        """Return the specification as plain data for keys and records.

        Facts that a model does not have are left out, so that keys of earlier releases stay valid.
        """
        plain = asdict(self)
        for tensor in (*plain["inputs"], *plain["outputs"]):
            del tensor["is_index"]  # it changes no result
            if tensor["kind"] == TensorSpec.kind:
                del tensor["kind"]
        for axis in plain["axes"].values():
            if axis["most"] is None:
                del axis["most"]
        for name in ("axes", "norms", "float32_io", "float32_modules"):
            if not plain[name]:
                del plain[name]
        return plain

    def axis(self, symbol: str) -> Axis:
        """Return the facts of a dynamic axis."""
        return self.axes.get(symbol, Axis())

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the varying dimensions, in order of appearance in the inputs."""
        seen: dict[str, None] = {}
        for tensor in self.inputs:
            for dim in tensor.shape:
                for symbol in symbols_of(dim):
                    seen.setdefault(symbol)
        return tuple(seen)


def epsilon_text(epsilon: float) -> str:
    """Return the text of an epsilon, equal for a number and for its value in float32, e.g. `1e-12`."""
    return f"{epsilon:.3g}"
