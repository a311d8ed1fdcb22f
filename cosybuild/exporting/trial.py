"""Call a user's module to find its outputs, and how the sizes of the outputs depend on the sizes of the inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from cosybuild.errors import ModelError
from cosybuild.exporting.torch_exporters import example_inputs, example_sizes
from cosybuild.models.spec import ModelSpec, TensorSpec

_STEP = 8
"""The amount by which an axis is longer in the second call; a multiple of the usual strides (1, 2, 4, 8)."""


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

    The module is called once, and then once for each dynamic axis of the inputs, with this axis longer. If the size of
    an output's axis grows in proportion, it is a sum of input sizes, such as `2*frames - 1`. If it changes in another
    way, the output's axis gets a new name.

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
    base = example_sizes(spec, {}, ())

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
                hint="Next: correct the shapes; a fixed size of an axis may help.",
            ) from error
        return dict(tensors_in(answer))

    first = call(base)
    others = {symbol: call({**base, symbol: base[symbol] + _STEP}) for symbol in spec.symbols}
    return tuple(
        TensorSpec(
            path,
            tuple(
                _dim(path, axis, size, base, {s: other[path].shape[axis] - size for s, other in others.items()})
                for axis, size in enumerate(map(int, tensor.shape))
            ),
            str(tensor.dtype).removeprefix("torch."),
        )
        for path, tensor in first.items()
    )


def _dim(path: str, axis: int, size: int, base: Mapping[str, int], changes: Mapping[str, int]) -> int | str:
    moving = {symbol: change for symbol, change in changes.items() if change}
    if not moving:
        return size
    if any(change % _STEP for change in moving.values()):
        return f"{path.replace('.', '_')}_axis{axis}"
    factors = {symbol: change // _STEP for symbol, change in moving.items()}
    rest = size - sum(factor * base[symbol] for symbol, factor in factors.items())
    terms = [symbol if factor == 1 else f"{factor}*{symbol}" for symbol, factor in factors.items()]
    return " + ".join(terms) + (f" {'+' if rest > 0 else '-'} {abs(rest)}" if rest else "")
