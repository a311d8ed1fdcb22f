"""The arithmetic of HyperPyYAML's `!ref <a> * 2 + 1`, computed from the syntax tree and never executed as code."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

Number = int | float

_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_REFERENCE = re.compile(r"<([^<>]*)>")
_LONGEST = 1000
_LARGEST = 10**18
"""The largest permitted absolute value of every number, so that `9 ** 9 ** 9` does not compute for hours."""


class ArithmeticProblem(ValueError):
    """An expression cannot be computed. The text of this error is the reason, without a full stop."""


def evaluate(expression: str, lookup: Callable[[str], Any]) -> Number:
    """Return the value of an expression with numbers, `<references>`, + - * / // % ** and brackets.

    Args:
        expression: e.g. `<chunk_size> * <token_mel_ratio>`.
        lookup: returns the value for the name of a reference, e.g. of `chunk_size`.

    Raises:
        ArithmeticProblem: the expression has other syntax, a reference is not a number, or the result is out of bounds.
    """
    if len(expression) > _LONGEST:
        raise ArithmeticProblem(f"it is longer than {_LONGEST} characters")
    names: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        names.append(match[1])
        return f" _{len(names) - 1} "

    try:
        tree = ast.parse(_REFERENCE.sub(placeholder, expression).strip(), mode="eval")
        return _value(tree.body, names, lookup)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ArithmeticProblem("it is no arithmetic of numbers and references") from error
    except ZeroDivisionError as error:
        raise ArithmeticProblem("it divides by zero") from error
    except OverflowError as error:
        raise ArithmeticProblem("its result is too large") from error


def _value(node: ast.expr, names: list[str], lookup: Callable[[str], Any]) -> Number:
    if isinstance(node, ast.Constant):
        return _number(node.value, repr(node.value))
    if isinstance(node, ast.Name) and node.id[0] == "_" and node.id[1:].isdigit() and int(node.id[1:]) < len(names):
        name = names[int(node.id[1:])]
        return _number(lookup(name), f"<{name}>")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, names, lookup)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left, names, lookup), _value(node.right, names, lookup)
        if isinstance(node.op, ast.Pow) and abs(right) > 64:
            raise ArithmeticProblem(f"the power {right} is out of bounds")
        result = _OPERATORS[type(node.op)](left, right)
        return _number(result, f"its result {result!r:.40}")
    raise ArithmeticProblem("it is no arithmetic of numbers and references")


def _number(value: Any, name: str) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArithmeticProblem(f"{name} is no number")
    if not abs(value) <= _LARGEST:
        raise ArithmeticProblem(f"{name} is larger than {_LARGEST:.0e}")
    return value
