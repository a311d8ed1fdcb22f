"""The operators of a model that compute the arguments of sines, which must not be rounded to 16 bits.

The time embedding takes the sine of values up to 1000. There, the distance between neighbouring numbers is 4 in
bfloat16 and 0.5 in float16. A phase error of this size changes the result completely.
"""

from __future__ import annotations

from typing import Any

from cosybuild.backends.openvino.kept_in_fp32 import PRODUCTS

_SINES = ("Sin", "Cos")
_AXES = ("Unsqueeze", "Squeeze")


def phase_operators(openvino: Any, model: Any) -> frozenset[str]:
    """Return the names of all operators between the last product or input and a sine, including the sine.

    Constants among them are included too. Operators that add or remove an axis are replaced by a Reshape, because
    OpenVINO would replace them itself and then compute in 16 bits, without regard to their attribute.

    Args:
        openvino: the Python module.
        model: OpenVINO's model, which is changed.
    """
    found: dict[str, Any] = {}
    waiting = [one for one in model.get_ordered_ops() if one.get_type_name() in _SINES]
    while waiting:
        operator = waiting.pop()
        name = operator.get_friendly_name()
        if name in found or operator.get_type_name() in (*PRODUCTS, "Parameter"):
            continue
        found[name] = operator
        waiting += [value.get_node() for value in operator.input_values()]
    for name, operator in found.items():
        if operator.get_type_name() in _AXES:
            _replace_by_reshape(openvino, name, operator)
    return frozenset(found)


def _replace_by_reshape(openvino: Any, name: str, operator: Any) -> None:
    axes = list(operator.output(0).get_partial_shape())
    if sum(axis.is_dynamic for axis in axes) > 1:
        return  # a Reshape can infer only one dynamic size
    sizes = [-1 if axis.is_dynamic else axis.get_length() for axis in axes]
    opset = openvino.opset13
    new = opset.reshape(operator.input_value(0), opset.constant(sizes, openvino.Type.i64), special_zero=False)
    new.set_friendly_name(name)
    for target in list(operator.output(0).get_target_inputs()):
        target.replace_source_output(new.output(0))
