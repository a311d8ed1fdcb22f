"""Static shapes: fixed sizes in place of dynamic axes."""

from __future__ import annotations

import pytest

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.static_shapes import with_static_shapes
from cosybuild.models.subject import Subject
from cosybuild.run.prepare import request_from_settings
from cosybuild.verification.solver_runs import is_solvable
from tests.config.composing import settings_of
from tests.models.fixtures import tiny_directory, tiny_subject


def test_fixed_sizes_replace_the_axes_and_are_in_the_name() -> None:
    subject = resolve_subject(ModelSettings(), str(tiny_directory(2)), dynamic_batch=True)
    fixed = with_static_shapes(subject, {"seq_len": 500, "batch": 1})
    assert fixed.spec.symbols == ()
    assert [tensor.shape for tensor in fixed.spec.inputs] == [
        (1, 8, 500), (1, 1, 500), (1, 8, 500), (1,), (1, 8), (1, 8, 500),
    ]  # fmt: skip
    assert fixed.spec.outputs[0].shape == (1, 8, 500)
    assert fixed.form == ("batch1", "seq_len500")
    assert not fixed.spec.guidance
    assert not is_solvable(fixed.spec, fixed.solver)


def test_one_axis_alone_may_be_fixed() -> None:
    fixed = with_static_shapes(tiny_subject(2), {"seq_len": 16})
    assert fixed.spec.guidance
    assert fixed.spec.symbols == ()
    one_row = resolve_subject(ModelSettings(), str(tiny_directory(2)), dynamic_batch=True)
    fixed = with_static_shapes(one_row, {"batch": 1})
    assert fixed.spec.symbols == ("seq_len",)
    assert not is_solvable(fixed.spec, fixed.solver)


def test_axes_that_are_not_dynamic_or_computed_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the axis 'frames', .*dynamic axes: seq_len"):
        with_static_shapes(tiny_subject(2), {"frames": 3})
    front = resolve_subject(ModelSettings(), None, False, ComponentName.frontend)
    with pytest.raises(ConfigurationError, match="computed from several axes"):
        with_static_shapes(front, {"tokens": 3})


def test_the_axes_of_a_module_follow_from_the_fixed_ones() -> None:
    """An axis of a name of its own, such as the quotient of a stride, stays as it is."""
    inputs = (TensorSpec("x", ("n", 4, "t")), TensorSpec("past", ("n", "t + p")))
    outputs = (
        TensorSpec("y", ("n", "2*t - 1")),
        TensorSpec("z", ("n", "z_axis1")),
        TensorSpec("c", ("t + 2*p + 3", 5)),
    )
    module = Subject(Family.module, ModelSpec(inputs, outputs), {"target": {"_target_": "net.Net"}})
    fixed = with_static_shapes(module, {"t": 10, "n": 1}).spec
    assert [tensor.shape for tensor in fixed.inputs] == [(1, 4, 10), (1, "p + 10")]
    assert [tensor.shape for tensor in fixed.outputs] == [(1, 19), (1, "z_axis1"), ("2*p + 13", 5)]
    assert fixed.symbols == ("p",)


def prepared(*words: str) -> Settings:
    return settings_of(f"model_dir='{tiny_directory(2)}'", "trt=none", *words)


def test_a_request_ignores_ranges_of_fixed_axes() -> None:
    request = request_from_settings(prepared("export.static={seq_len: 20, batch: 1}"))
    assert request.profiles == ({},)
    request = request_from_settings(prepared("export.static={seq_len: 20}", "export.dynamic_batch=true"))
    assert [list(profile) for profile in request.profiles] == [["batch"]]


@pytest.mark.parametrize("words", [("export.static={seq_len: 0}",), ("verify.solver.steps=0",)])
def test_sizes_and_steps_begin_at_one(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        prepared(*words)


def test_the_setting_replaces_the_number_of_steps() -> None:
    solver = request_from_settings(prepared("verify.solver.steps=4")).subject.solver
    assert solver is not None
    assert (solver.steps, solver.schedule, solver.guidance) == (4, "cosine", 0.7)
