"""The trace, simplify's check, verification and lowering run only sizes inside the stated profiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.export import Exporter
from cosybuild.config.groups.model import TensorSettings
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.config.groups.verify import VerifyMode
from cosybuild.models.shape_profile import admits
from cosybuild.numerics import inputs as numeric_inputs
from cosybuild.numerics.inputs import Array, Draw
from cosybuild.precision.calibration import calibration_sizes
from cosybuild.request import Request
from cosybuild.stages.export import sizes_of_example
from cosybuild.verification.scope import reference_cases_of
from tests.stages.building import Bench, graph_of, module, tiny

Sizes = dict[str, tuple[int, ...]]
MODULES: dict[str, tuple[tuple[int | str, ...], tuple[int | str, ...], Sizes]] = {
    "Positions": ((2, "steps", 4), (2, "steps", 4), {"steps": (1, 4, 8)}),
    "Blocks": ((2, "length"), (2, "length"), {"length": (32, 64, 256, 32)}),
    "OneRow": (("batch", "frames", 8), ("batch", "frames", 8), {"batch": (1, 1, 1), "frames": (1, 24, 64)}),
}


def of_module(name: str, **others: Any) -> Request:
    x, y, sizes = MODULES[name]
    return module(name, [TensorSettings("x", x)], [TensorSettings("y", y)], sizes=sizes, **others)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """Return the sizes of all generated inputs."""
    found: list[dict[str, int]] = []
    plain = numeric_inputs.draw_inputs

    def watched(spec: Any, draw: Draw) -> dict[str, Array]:
        found.append(dict(draw.sizes))
        return plain(spec, draw)

    for place in ("verification.cases", "verification.property_checks", "exporting.torch_exporters", "stages.simplify"):
        monkeypatch.setattr(f"cosybuild.{place}.draw_inputs", watched)
    return found


@pytest.mark.parametrize("mode", VerifyMode)
@pytest.mark.parametrize("name", MODULES)
def test_a_model_that_accepts_few_sizes_is_built_and_verified(
    name: str, mode: VerifyMode, drawn: list[Any], tmp_path: Path
) -> None:
    asked = of_module(name, verify={"mode": mode})
    bench = Bench(asked, tmp_path)
    exported = graph_of(bench.export())
    result = bench.verify(graph_of(bench.simplify(exported)), exported)
    assert result.metrics["cases"] > 0
    assert len(drawn) > 10
    assert [sizes for sizes in drawn if not admits(asked.profiles, sizes)] == []


def test_the_other_exporter_also_traces_a_size_of_the_profile(drawn: list[Any], tmp_path: Path) -> None:
    asked = of_module("Blocks", exporter=Exporter.dynamo)
    Bench(asked, tmp_path).export()
    assert drawn == [{"length": 32}]


@pytest.mark.parametrize("name", MODULES)
def test_calibration_sizes_are_inside_the_profile(name: str) -> None:
    asked = of_module(name)
    sizes = calibration_sizes(PrecisionSettings(target=Target.fp16), asked.subject.spec, asked.profiles)
    assert all(admits(asked.profiles, one) for one in sizes)


def test_cases_of_two_profiles_with_two_axes_lie_in_one_of_them() -> None:
    x, y = TensorSettings("x", ("batch", "frames", 8)), TensorSettings("y", ("batch", "frames", 8))
    asked = module("OneRow", [x], [y], sizes={"batch": (1, 1, 1), "frames": (64, 96, 128)})
    several = asked.settings.trt_profile.profiles
    short = module("OneRow", [x], [y], sizes={"batch": (2, 4, 8), "frames": (4, 8, 16)}).settings.trt_profile.profiles
    asked = with_profiles(asked, (*several, *short))
    cases = reference_cases_of(asked)
    assert len(cases) > 8
    assert all(admits(asked.profiles, case.draw.sizes) for case in cases)
    assert {case.draw.sizes["batch"] for case in cases} >= {1, 2, 8}


def with_profiles(asked: Request, profiles: Any) -> Request:
    settings = replace(asked.settings, trt_profile=replace(asked.settings.trt_profile, profiles=profiles))
    return replace(asked, settings=settings)


def test_the_default_profile_does_not_change_cases_and_traced_sizes() -> None:
    """Keys of stored results depend on these."""
    asked = tiny("cosyvoice2", sizes={"seq_len": (4, 500, 3000)})
    assert sizes_of_example(asked) == {"seq_len": 23}
    octaves = [c.draw.sizes["seq_len"] for c in reference_cases_of(asked) if c.why == "random length"]
    assert [size.bit_length() for size in octaves] == [5, 6, 7, 8, 9]
