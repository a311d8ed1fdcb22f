"""Shapes of outputs that an ONNX file states wrongly."""

from __future__ import annotations

import numpy as np

from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Draw
from cosybuild.verification.cases import Case
from cosybuild.verification.output_shapes import misstated_outputs
from cosybuild.verification.reference import Reference


def said(shape: tuple[int | str, ...], *computed: tuple[int, ...]) -> list[str]:
    spec = ModelSpec((TensorSpec("x", ("batch", "n")),), (TensorSpec("y", shape),))
    cases = tuple(Case("any", Draw({"batch": 1 + i, "n": 16 * (1 + i)})) for i in range(len(computed)))
    outputs = tuple({"y": np.zeros(one, np.float32)} for one in computed)
    return list(misstated_outputs(spec, Reference("torch", cases, outputs)))


def test_a_right_shape_is_not_mentioned() -> None:
    assert said(("batch", "n + 1", "free"), (1, 17, 3), (2, 33, 5)) == []


def test_a_wrong_shape_is_named_with_the_right_one() -> None:
    (line,) = said((1, "axis1"), (4, 1, 8210), (7, 2, 8210))
    assert "states the shape (1, axis1) of y, but computes (4, 1, 8210)" in line
    assert "model.outputs=[{name: 'y', shape: [output_axis0, batch, 8210]}]" in line
    assert said(("batch", 3), (1, 4), (2, 4))
