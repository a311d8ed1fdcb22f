"""Call a user's module to find its outputs, and how the sizes of the outputs depend on the sizes of the inputs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import ModelError
from cosybuild.exporting.torch_exporters import example_inputs, example_sizes
from cosybuild.models.dimension import text_of
from cosybuild.models.guesses import default_ranges
from cosybuild.models.shape_profile import FRAMES, expand_profiles
from cosybuild.models.spec import ModelSpec, TensorSpec

_STEP = 8
"""The least amount by which an axis is longer in the second call; a multiple of the usual strides (1, 2, 4, 8)."""
_DEFAULT = ProfileSettings(profiles=({FRAMES: RangeSettings(4, 500, 3000)},))


def parameters_of(target: Mapping[str, Any]) -> list[str]:
    """Return the names of the required parameters of a module's `forward`.

    Args:
        target: the setting `model.target`, which constructs the module.

    Raises:
        ModelError: the module cannot be constructed.
    """
    from cosybuild.models.load import construct_module

    parameters = inspect.signature(construct_module(target).forward).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def tried_outputs(target: Mapping[str, Any], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Call a module and return the specifications of its outputs.

    The module is called once, and then twice for each dynamic axis of the inputs: with this axis a little longer, and
    twice as long. If the size of an output's axis grows in proportion, it is a sum of input sizes, such as
    `2*frames - 1`. If it changes in another way, the output's axis gets a new name.

    Args:
        target: the setting `model.target`, which constructs the module.
        inputs: the inputs of the module.

    Raises:
        ModelError: the module cannot be constructed, or it does not accept the inputs.
    """
    import torch

    from cosybuild.models.calling import call_flat, tensors_in
    from cosybuild.models.load import construct_module

    module = construct_module(target)
    spec = ModelSpec(tuple(inputs), ())
    profiles = expand_profiles(default_ranges(_DEFAULT, spec, declared=True), spec)
    base = example_sizes(spec, {}, profiles)
    name = str(target["_target_"])

    def call(sizes: Mapping[str, int]) -> dict[str, Any]:
        try:
            with torch.inference_mode():
                answer = call_flat(
                    module, str(target["_target_"]), [t.name for t in inputs], [*example_inputs(spec, sizes)]
                )
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise ModelError(
                f"{name} does not take inputs of these shapes, tried with {dict(sizes) or 'fixed sizes'}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                hint="Next: correct the shapes. If only some sizes are accepted, state one, such as --input "
                f"{inputs[0].name}=[1,16000]; an axis with the name `samples` is tried with 4000 to 16000.",
            ) from error
        return dict(tensors_in(answer))

    first = call(base)
    steps = {symbol: math.lcm(_STEP, profiles[0][symbol].multiple_of) for symbol in spec.symbols}
    others = {symbol: call({**base, symbol: base[symbol] + step}) for symbol, step in steps.items()}
    # A stride that is larger than the step shows only when the size changes by much.
    doubled: dict[str, dict[str, Any]] = {}
    for symbol in spec.symbols:
        with suppress(ModelError):  # e.g. more than its position table has
            doubled[symbol] = call({**base, symbol: 2 * base[symbol]})

    def shape(path: str) -> tuple[int | str, ...]:
        found = []
        for axis, size in enumerate(map(int, first[path].shape)):
            changes = {s: (int(other[path].shape[axis]) - size, steps[s]) for s, other in others.items()}
            large = {s: (int(other[path].shape[axis]) - size, base[s]) for s, other in doubled.items()}
            is_sum = all(large[s][0] * changes[s][1] == changes[s][0] * large[s][1] for s in large)
            found.append(_dim(path, axis, size, base, changes) if is_sum else _own_axis(path, axis))
        return tuple(found)

    taken = {tensor.name for tensor in inputs}
    return tuple(
        TensorSpec(_output_name(path, taken), shape(path), str(tensor.dtype).removeprefix("torch."))
        for path, tensor in first.items()
    )


def _output_name(path: str, taken: Collection[str]) -> str:
    """Return the path, or another name if an input has that name: each tensor of a graph needs its own."""
    while path in taken:
        path += "_output"
    return path


def _own_axis(path: str, axis: int) -> str:
    return f"{path.replace('.', '_')}_axis{axis}"


def _dim(path: str, axis: int, size: int, base: Mapping[str, int], changes: Mapping[str, tuple[int, int]]) -> int | str:
    moving = {symbol: change for symbol, change in changes.items() if change[0]}
    if not moving:
        return size
    if any(change % step for change, step in moving.values()):
        return _own_axis(path, axis)
    factors = {symbol: change // step for symbol, (change, step) in moving.items()}
    rest = size - sum(factor * base[symbol] for symbol, factor in factors.items())
    return text_of({**factors, "": rest})
