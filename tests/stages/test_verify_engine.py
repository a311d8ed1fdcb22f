"""The verification of engines: when it is planned, its gates, and its messages for a wrong engine.

Without a GPU, ONNX Runtime computes the same model behind the session's call: every number is real, but not
computed by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild import figure
from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.session import Session
from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.library import RTX, TENSORRT
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.precision import Target as Precision
from cosybuild.config.groups.trt import TrtBackend, TrtSettings
from cosybuild.errors import VerificationError
from cosybuild.numerics.gates import ENGINE
from cosybuild.numerics.inputs import Array
from cosybuild.request import Request
from cosybuild.stages.verify_engine import (
    VerifyEngineStage,
    engine_gate,
    examine_engine,
    expand_verify_engine_stages,
    in_place_of,
)
from cosybuild.system.environment import Environment, Gpu
from cosybuild.verification.lowered_gates import gate_of
from cosybuild.verification.reference import Reference, read_reference
from tests.stages.building import Bench, graph_of, tiny

L40S = Gpu(0, "NVIDIA L40S", 89, 48 * 2**30)
H200 = Gpu(0, "NVIDIA H200", 90, 141 * 2**30)


def asking(asked: Request, precision: Precision = Precision.fp32, **trt: Any) -> Request:
    settings = replace(asked.settings, trt=TrtSettings(**trt), precision=PrecisionSettings(target=precision))
    return replace(asked, settings=settings)


def machine(*gpus: Gpu, **versions: str) -> Environment:
    absent = {f"{stem}{cuda}": None for stem in ("tensorrt", "tensorrt-rtx") for cuda in ("", "-cu12", "-cu13")}
    return Environment({**absent, **{name.replace("_", "-"): version for name, version in versions.items()}}, gpus)


@dataclass
class Engine:
    """ONNX Runtime instead of an engine; `spoil` changes its outputs."""

    session: Session
    spoil: Any = None
    opened: list[tuple[int, bool]] = field(default_factory=list)

    def __call__(self, profile: int, *, in_place: bool) -> tuple[Session, Mapping[str, str]]:
        self.opened.append((profile, in_place))
        self.device = self.session.device
        return self, dict.fromkeys(("x", "mask", "mu", "t", "spks", "cond"), "float32")

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self.session.infer(inputs)
        return self.spoil(self.opened[-1], inputs, outputs) if self.spoil else outputs


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, Session, Reference]:
    bench = Bench(tiny("cosyvoice2"), tmp_path_factory.mktemp("built"))
    graph = graph_of(bench.simplify(graph_of(bench.export())))
    reference = read_reference(bench.reference(graph).outputs["reference"][0])
    return asking(bench.asked), onnxruntime_backend.load(graph.path, threads=1), reference


def snr(record: Mapping[str, Any]) -> float:
    return float(record["outputs"]["estimator_out"]["snr_db"])


def ignore(kind: str, **facts: Any) -> None:
    pass


def test_every_case_is_run_twice_and_then_the_solver(built: tuple[Request, Session, Reference]) -> None:
    request, session, reference = built
    engine = Engine(session)
    found = examine_engine(engine, request, reference, ignore)
    assert engine.opened == [(0, False), (0, True), (0, False)]
    # An engine runs only the sizes of its profile, and the reference has no other case.
    assert all(4 <= case.draw.sizes["seq_len"] <= 64 for case in reference.cases)
    assert len(found["cases"]) == 2 * len(reference.cases) > 0
    assert found["worst"]["snr_db"] == figure.plain(min(snr(case) for case in found["cases"]))
    assert found["gate"] == ENGINE[Precision.fp32]
    assert [run["run"] for run in found["solver"]] == [rollout.name for rollout in reference.rollouts]
    (hop,) = found["hops"]
    assert (hop["hop"], hop["missed"]) == ("engine", [])


def test_an_error_that_occurs_only_in_place_is_found(built: tuple[Request, Session, Reference]) -> None:
    request, session, reference = built

    def overwritten(opened: tuple[int, bool], inputs: Mapping[str, Array], outputs: dict[str, Array]) -> Any:
        """Compute as an engine that reads x again after it began to write."""
        return {name: values + opened[1] * 0.1 * inputs["x"] for name, values in outputs.items()}

    with pytest.raises(VerificationError, match=r"profile 0, in place: estimator_out has snr_db .* at least 80 dB"):
        examine_engine(Engine(session, overwritten), request, reference, ignore)


def test_values_that_are_not_finite_fail_verification(built: tuple[Request, Session, Reference]) -> None:
    request, session, reference = built

    def overflow(opened: tuple[int, bool], inputs: Mapping[str, Array], outputs: dict[str, Array]) -> Any:
        (output,) = outputs
        spoilt = outputs[output].copy()
        spoilt[0, 0, 0] = np.nan
        return {output: spoilt}

    with pytest.raises(VerificationError, match=r"1 of \d+ values of estimator_out are NaN or infinite"):
        examine_engine(Engine(session, overflow), request, reference, ignore)


def test_an_error_too_small_for_one_call_is_found_by_the_solver(built: tuple[Request, Session, Reference]) -> None:
    """An error that a single call may have (with this gate) accumulates in the mel."""
    request, session, reference = built
    verify = request.settings.verify
    assert verify is not None
    loose = replace(verify, hops=replace(verify.hops, engine={"snr_db": 20.0}))
    request = replace(request, settings=replace(request.settings, verify=loose))

    def drift(opened: tuple[int, bool], inputs: Mapping[str, Array], outputs: dict[str, Array]) -> Any:
        return {name: values * np.float32(1.03) for name, values in outputs.items()}

    with pytest.raises(VerificationError, match=r"Solver T=.*: the mel has "):
        examine_engine(Engine(session, drift), request, reference, ignore)


def test_each_precision_has_a_gate_and_a_setting_overrides_it(built: tuple[Request, Session, Reference]) -> None:
    request = built[0]
    gates = {p: engine_gate(asking(request, p))["snr_db"] for p in (Precision.fp32, Precision.tf32, Precision.fp16)}
    assert gates[Precision.fp32] > gates[Precision.tf32] == gates[Precision.fp16]
    assert in_place_of(request) == {"estimator_out": "x"}


@pytest.mark.parametrize("target", [Precision.fp16, Precision.mixed, Precision.bf16])
def test_the_ratio_that_a_user_states_is_one_gate_for_the_graph_and_its_engine(
    target: Precision, built: tuple[Request, Session, Reference]
) -> None:
    asked = asking(built[0], target)
    stated = replace(asked.settings.precision, snr_db=26.0)
    asked = replace(asked, settings=replace(asked.settings, precision=stated))
    assert engine_gate(asked) == gate_of(asked)
    assert engine_gate(asked)["max_rel"] == pytest.approx(8 * 10 ** (-26 / 20)), "the largest error follows the ratio"


def test_an_engine_passes_at_the_ratio_that_was_requested(built: tuple[Request, Session, Reference]) -> None:
    """One element has an error of 0.3 of the rms: 34 dB and max_rel 0.2 refuse it, a requested 20 dB accepts it."""
    request, session, reference = built
    request = asking(request, Precision.fp16)

    def bump(opened: tuple[int, bool], inputs: Mapping[str, Array], outputs: dict[str, Array]) -> Any:
        spoilt = {name: values.copy() for name, values in outputs.items()}
        for values in spoilt.values():
            values[0, 0, 0] += 0.3 * np.sqrt(np.mean(values**2))
        return spoilt

    with pytest.raises(VerificationError, match=r"max_rel 0\.\d+ where at most 0\.2 is asked for"):
        examine_engine(Engine(session, bump), request, reference, ignore)
    stated = replace(request.settings.precision, snr_db=20.0)
    request = replace(request, settings=replace(request.settings, precision=stated))
    without = replace(request.settings, verify=replace(request.settings.verify, solver=None))
    found = examine_engine(Engine(session, bump), replace(request, settings=without), reference, ignore)
    assert found["gate"] == {"snr_db": 20.0, "max_rel": pytest.approx(0.8)}


@pytest.mark.parametrize(("gpus", "trt", "labels"), [
    ((), {}, []),
    ((H200,), {}, []),
    ((L40S,), {}, ["verify engine sm_89"]),
    ((L40S,), {"sm": (86, 89)}, ["verify engine sm_89"]),
])  # fmt: skip
def test_engines_built_ahead_of_time_are_run_on_machines_with_their_gpu(
    built: tuple[Request, Session, Reference], gpus: tuple[Gpu, ...], trt: dict[str, Any], labels: list[str]
) -> None:
    request = asking(built[0], backend=TrtBackend.tensorrt_rtx, **trt)
    stages = expand_verify_engine_stages(replace(request, environment=machine(*gpus, tensorrt_rtx="1.7.1.116")))
    assert [stage.label for stage in stages] == labels


def test_a_plan_waits_for_its_gpu_together_with_its_verification(built: tuple[Request, Session, Reference]) -> None:
    request = asking(built[0], backend=TrtBackend.tensorrt)
    (stage,) = expand_verify_engine_stages(replace(request, environment=machine(tensorrt="10.13.0")))
    assert (stage.label, stage.device) == ("verify engine tensorrt", "gpu")
    assert stage.missing(request, machine(tensorrt="10.13.0")) == ("a GPU",)
    assert stage.missing(request, machine(H200, tensorrt="10.13.0")) == ()
    assert stage.needs == ("engine", "reference")


def test_without_verification_no_engine_is_verified(built: tuple[Request, Session, Reference]) -> None:
    request = asking(built[0], backend=TrtBackend.tensorrt_rtx)
    request = replace(request, settings=replace(request.settings, verify=None))
    assert expand_verify_engine_stages(replace(request, environment=machine(L40S, tensorrt_rtx="1.7.1.116"))) == ()


def test_another_driver_is_another_verification(built: tuple[Request, Session, Reference]) -> None:
    stage = VerifyEngineStage(Target(TENSORRT, 90))
    facts = stage.environment(machine(H200, tensorrt="11.4.0"))
    assert facts == {"tensorrt": "11.4.0", "gpu": "NVIDIA H200", "driver": "absent"}
    assert VerifyEngineStage(Target(RTX, 89)).makes == ("engine_verification_sm89",)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_real_engine_passes_verification(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from tests.scenarios.commands import DATA, Place, actions

    place = Place(tmp_path)
    place.cosybuild(f"model_dir={DATA / 'cosyvoice2_tiny'}", "trt=fp16")
    done = actions(place.report())
    assert any(label.startswith("verify engine") and action == "built" for label, action in done.items())
