"""Call any PyTorch module with a flat list of tensors, and return its result as a flat tuple of tensors.

An ONNX graph has flat lists of inputs and outputs. A module's `forward` can also have optional and keyword-only
parameters, its arguments can be tuples and mappings, and its return value can be nested and contain None.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cosybuild.errors import ModelError

_Arrange = Callable[[Sequence[Any]], tuple[Sequence[Any], dict[str, Any]]]
"""A function from flat values to the positional arguments and the keyword arguments of `forward`."""


def make_flat(module: nn.Module, name: str, inputs: Sequence[str], outputs: Sequence[str], fixed: Any = None) -> None:
    """Replace `forward` of this module object by a function that takes and returns flat tensors.

    An input with the name of a parameter of `forward` is passed as that parameter. The input `hx.0` is the first value
    of the tuple `hx`, and `cache.key` is the value `key` of the mapping `cache`. If the name of any input fits no
    parameter, all inputs are passed by position.

    If the name of every output is a path in the return value (`last_hidden_state`, `output_1.0`), the outputs are the
    tensors at these paths. Otherwise the outputs are all tensors of the return value, in order.

    Args:
        module: the module, which is changed in place.
        name: the module's name in error messages.
        inputs: names of the declared inputs, in order.
        outputs: names of the declared outputs, in order.
        fixed: values of the parameters that take no tensor, by name (the setting `model.arguments`); None for none.

    Raises:
        ModelError: `forward` does not accept these inputs. The new `forward` raises the same error if the return
            value does not fit `outputs`.
    """
    original = module.forward
    constants = dict(fixed or {})
    arguments = _arranged(original, name, inputs, constants)

    def forward(*tensors: Tensor) -> Any:
        positional, keywords = arguments(tensors)
        answer = original(*positional, **keywords, **constants)
        if isinstance(answer, Tensor) and len(outputs) == 1:
            return answer
        return _chosen(dict(tensors_in(answer)), name, outputs)

    module.forward = forward


def call_flat(module: nn.Module, name: str, inputs: Sequence[str], tensors: Sequence[Tensor]) -> Any:
    """Call a module with flat inputs, and return the unchanged return value of `forward`.

    Args:
        module: the module.
        name: the module's name in error messages.
        inputs: names of the inputs; `make_flat` explains how they fit the parameters of `forward`.
        tensors: one tensor for each input.

    Raises:
        ModelError: `forward` does not accept these inputs.
    """
    positional, keywords = _arranged(module.forward, name, inputs, {})(tensors)
    return module(*positional, **keywords)


def tensors_in(answer: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the path and the tensor for every tensor in the return value of a module.

    Args:
        answer: a tensor, or nested mappings, dataclasses, tuples and lists; other values in them are skipped.
        path: the path of `answer` itself; empty for a complete return value.

    A path joins keys, field names and positions by dots. It begins with `output_` if it would begin with a position.
    """
    if isinstance(answer, Tensor):
        yield path or "output", answer
        return
    if isinstance(answer, Mapping):
        parts = list(answer.items())
    elif dataclasses.is_dataclass(answer):
        parts = [(field.name, getattr(answer, field.name)) for field in dataclasses.fields(answer)]
    elif isinstance(answer, (tuple, list)):
        names = getattr(answer, "_fields", range(len(answer)))
        parts = list(zip(names, answer, strict=True))
    else:
        return
    for key, value in parts:
        # The exporters refuse names that begin with a digit.
        yield from tensors_in(value, f"{path}.{key}" if path else f"output_{key}" if isinstance(key, int) else str(key))


def _chosen(found: Mapping[str, Tensor], name: str, outputs: Sequence[str]) -> Tensor | tuple[Tensor, ...]:
    if all(output in found for output in outputs):
        chosen = [found[output] for output in outputs]
    elif len(found) == len(outputs):
        chosen = list(found.values())
    else:
        shown = ", ".join(f"{path} {tuple(map(int, tensor.shape))}" for path, tensor in found.items()) or "none"
        raise ModelError(
            f"{name} returns {len(found)} tensors: {shown}; model.outputs declares {', '.join(outputs)}.",
            hint="Next: declare one output for each tensor, or only those you need under the names of this list.",
        )
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def _arranged(forward: Any, name: str, inputs: Sequence[str], constants: Mapping[str, Any]) -> _Arrange:
    """Return a function from flat tensors to the positional and keyword arguments of `forward`.

    Raises:
        ModelError: `forward` does not accept the inputs and the constants.
    """
    signature = inspect.signature(forward)
    parameters = [*signature.parameters]
    tops = list(dict.fromkeys(one.partition(".")[0] for one in inputs))
    by_keyword = any(_is_keyword(signature.parameters.get(top)) for top in tops)
    in_order = tops == list(inputs) == parameters[: len(tops)] and not by_keyword and not constants
    by_name = set(tops) <= set(parameters) and not in_order

    def arguments(values: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        return ((), _nested(dict(zip(inputs, values, strict=True)))) if by_name else (values, {})

    try:
        positional, keywords = arguments(inputs)
        signature.bind(*positional, **keywords, **constants)
    except TypeError as error:
        raise ModelError(
            f"{name} takes {signature}, but model.inputs declares {len(inputs)} inputs ({', '.join(inputs)}): {error}.",
            hint="Next: name the inputs as the parameters of forward, or declare them in the order of its parameters; "
            "model.arguments={name: value} states arguments that are no tensors.",
        ) from error
    return arguments


def _is_keyword(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of each parameter: `a.0` and `a.1` become a tuple `a`, and `a.key` becomes a mapping `a`."""
    groups: dict[str, Any] = {}
    for path, value in values.items():
        top, _, rest = path.partition(".")
        if rest:
            groups.setdefault(top, {})[rest] = value
        else:
            groups[top] = value
    return {top: _collected(value) if isinstance(value, dict) else value for top, value in groups.items()}


def _collected(values: Mapping[str, Any]) -> Any:
    nested = _nested(values)
    return tuple(nested.values()) if all(key.isdigit() for key in nested) else nested
