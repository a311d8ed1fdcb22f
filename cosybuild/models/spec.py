"""The inputs and outputs of a model as data, which export, verification, profiles and benchmarks use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cosybuild.models.dimension import size_of, symbols_of


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: its name in the ONNX graph.
        shape: the size of each axis: an integer, a symbol (the name of a dynamic axis) or a sum of both, e.g.
            `(2, 80, "seq_len")` or `(1, "past + 1")`; empty for a scalar.
        dtype: a name of `dtypes.DTYPES`.
        generator: the kind of test values for an input (see `numerics.inputs`): `normal`, `uniform`, `mel`, `speech`,
            `speech_frames`, `fbank`, `whisper`, `mask`, `time`, `integer`, `length`, `ones`.
        low, high: the range of `uniform`, `time` and `integer` (high excluded for integers).
        kind: for an output, the kind of its values, which decides its metrics and gates (`numerics.metrics.Kind`).
        is_index: True if integers are indices of a table of fixed size. A runtime must then refuse values outside the
            range, because a graph cannot report them. False if the range only limits the test values.
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
        """The symbol or sum of each dynamic axis, by the position of the axis."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, str)}

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape as integers.

        Args:
            sizes: the size of each symbol.

        Raises:
            KeyError: a symbol has no size in `sizes`.
        """
        return tuple(size_of(dim, sizes) for dim in self.shape)


@dataclass(frozen=True)
class Axis:
    """The properties of one dynamic axis. An axis without an entry in `ModelSpec.axes` has the default values.

    Attributes:
        per_second: positions along the axis per second, to convert durations to sizes; None if no such rate is known.
        per_frame: positions along the axis per mel frame. With it, a profile that states only `seq_len` also determines
            this axis. None if the size does not depend on `seq_len`.
        least: the smallest size, 0 or 1.
        most: the largest size; None if there is no limit.
        sizes: min, opt and max for a profile that does not state this axis; empty for none.
        boundaries: sizes at which the computation takes another path, so that verification tests them.
    """

    per_second: float | None = None
    per_frame: float | None = None
    least: int = 1
    most: int | None = None
    sizes: tuple[int, ...] = ()
    boundaries: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """The inputs and outputs of a model, and the facts about them.

    Attributes:
        inputs, outputs: the tensors, in the order in which the runtime binds them.
        guidance: True if the rows of a batch are pairs for classifier-free guidance: the first half is conditional, and
            in the second half mu, spks and cond are zero, as CosyVoice's solver passes them.
        frames_per_second: positions of the axis `seq_len` per second; None if it is not a time axis.
        axes: symbol -> properties, for the dynamic axes that differ from `Axis()`.
        norms: the number of layer normalisations in the graph for each epsilon (as `epsilon_text` writes it); empty if
            unknown. A check of the graph needs it, because a wrong epsilon hardly changes outputs of large variance.
        float32_io: True if the inputs and outputs of a lowered graph stay float32 for any setting `precision.io`.
        float32_modules: the modules that stay float32 in a lowered graph: pattern of module paths -> reason.
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

        Fields with their default values are left out if earlier releases did not have them, so that keys of earlier
        releases stay valid.
        """
        plain = asdict(self)
        for tensor in (*plain["inputs"], *plain["outputs"]):
            del tensor["is_index"]  # it changes no step's result
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
        """Return the properties of the dynamic axis `symbol`; the defaults if it has no entry in `axes`."""
        return self.axes.get(symbol, Axis())

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of all dynamic axes, in the order in which they first appear in the inputs."""
        seen: dict[str, None] = {}
        for tensor in self.inputs:
            for dim in tensor.shape:
                for symbol in symbols_of(dim):
                    seen.setdefault(symbol)
        return tuple(seen)


def epsilon_text(epsilon: float) -> str:
    """Return an epsilon as text with three digits, e.g. `1e-12`: a float64 and its float32 value give the same text."""
    return f"{epsilon:.3g}"
