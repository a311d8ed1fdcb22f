"""`!ref` arithmetic compared with Python's own evaluation, and its bounds."""

from __future__ import annotations

import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.models.directory.arithmetic import ArithmeticProblem, evaluate

NAMES = {"chunk_size": 25, "token_mel_ratio": 2, "rate": 0.5, "zero": 0, "text": "10", "flag": True}

atoms = st.one_of(
    st.integers(0, 50).map(str),
    st.floats(0, 50, allow_nan=False).map(lambda value: f"{value:.3f}"),
    st.sampled_from(["<chunk_size>", "<token_mel_ratio>", "<rate>", "<zero>"]),
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", " * ", "/", " // ", "%", " ** "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
    ),
    max_leaves=8,
)


@given(expressions)
def test_expressions_give_the_values_of_python(expression: str) -> None:
    source = expression
    for name, value in NAMES.items():
        source = source.replace(f"<{name}>", repr(value))
    try:
        expected = bounded(ast.parse(source.strip(), mode="eval").body)
    except (ZeroDivisionError, OverflowError, ValueError, SyntaxError):
        with pytest.raises(ArithmeticProblem):
            evaluate(expression, NAMES.__getitem__)
        return
    found = evaluate(expression, NAMES.__getitem__)
    assert type(found) is type(expected)
    assert found == expected


def bounded(node: ast.expr) -> int | float:
    """Evaluate with Python, where every step must be a real number up to 1e18 and no power may exceed 64."""
    if isinstance(node, ast.BinOp):
        parts = [bounded(node.left), bounded(node.right)]
        if isinstance(node.op, ast.Pow) and abs(parts[1]) > 64:
            raise ValueError("the power is out of bounds")
        compiled = ast.Expression(ast.BinOp(ast.Name("a", ast.Load()), node.op, ast.Name("b", ast.Load())))
        names = dict(zip("ab", parts, strict=True))
        value = eval(compile(ast.fix_missing_locations(compiled), "", "eval"), {}, names)  # noqa: S307  # Python itself is what is compared with
    elif isinstance(node, ast.UnaryOp):
        value = -bounded(node.operand)
    else:
        value = ast.literal_eval(node)
    if isinstance(value, complex) or not abs(value) <= 10**18:
        raise ValueError("the value is out of bounds")
    assert isinstance(value, int | float)
    return value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("<chunk_size> * <token_mel_ratio>", 50),
        ("<chunk_size>*<token_mel_ratio>", 50),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("-(7) // 2", -4),
        ("(1 + 2) * 3 - 4 / 2", 7.0),
        ("7 % -3", -2),
        ("24000 / 480", 50.0),
    ],
)
def test_examples_give_their_values(expression: str, value: float) -> None:
    found = evaluate(expression, NAMES.__getitem__)
    assert found == value
    assert type(found) is type(value)


REFUSED = [
    "9 ** 9 ** 9",
    "9 ** 64",
    "2 ** -1e300",
    "(-8) ** 0.5",
    "1 / <zero>",
    "5 % 0",
    "1e300 * 1e300",
    "<text> * 2",
    "<flag> + 1",
    "True + 1",
    "'a' * 1000000000",
    "[1] * 1000000000",
    "__import__('os').getcwd()",
    "(lambda: 1)()",
    "_0 + 1",
    "_1 * <rate>",
    "1 if 2 else 3",
    "1 < 2",
    "~5",
    "1 << 100",
    "f'{1}'",
    "x + 1",
    "1; 2",
    "1 +",
    "",
    "1j",
    "nan",
    "(" * 400 + "1" + ")" * 400,
    "1 + " * 600 + "1",
    "9" * 900,
    "- " * 300 + "1 +",
]


@pytest.mark.parametrize("expression", REFUSED)
def test_invalid_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ArithmeticProblem):
        evaluate(expression, NAMES.__getitem__)


@given(st.text(alphabet="0123456789+-*/%() .<>e_x", max_size=40))
def test_any_text_gives_a_number_or_a_problem(expression: str) -> None:
    try:
        value = evaluate(expression, lambda name: 3)
    except ArithmeticProblem:
        return
    assert math.isfinite(value)
    assert abs(value) <= 10**18
