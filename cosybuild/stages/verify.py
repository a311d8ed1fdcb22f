"""The artifact against PyTorch: the same inputs, the same numbers. Imports torch only when it runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.verify import VerifyMode, VerifySettings
from cosybuild.core.environment import Environment
from cosybuild.core.stage import Emit, RunContext, StageResult
from cosybuild.errors import VerificationError
from cosybuild.models.profile import Profile, expand_profiles
from cosybuild.models.subject import Subject
from cosybuild.numerics.cases import Case, strict_cases, upstream_cases
from cosybuild.numerics.metrics import measure
from cosybuild.numerics.tolerance import Tolerance, compare
from cosybuild.stages.export import subject_settings
from cosybuild.stages.request import Request

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array

SCHEMA = 1
UNOPTIMISED = "ONNX Runtime without graph optimisations; an ONNX file has no PyTorch reference"


class VerifyStage:
    """Makes `verification`, the record of all cases."""

    name = "verify"
    label = "verify"
    version = 1
    needs = ("graph", "weights?")
    makes = ("verification",)
    cacheable = True
    # The figures are rounding errors: another CPU has others.
    deterministic = False
    device = "cpu"

    def settings(self, request: Request) -> Mapping[str, Any]:
        verify = request.settings.verify
        assert verify is not None
        return {
            "mode": verify.mode.value,
            "rtol": verify.rtol,
            "atol": verify.atol,
            "snr_db": verify.snr_db,
            "seed": verify.seed,
            "threads": verify.threads,
            "provider": verify.provider.value,
            **subject_settings(request.subject),
            "profiles": [_plain(profile) for profile in _profiles(request)],
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        packages = ("torch", "onnxruntime", "onnxruntime-gpu")
        return {name: environment.version(name) or "absent" for name in packages}

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        return ()

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        verify, subject = request.settings.verify, request.subject
        assert verify is not None
        cases = cases_of(request)
        graph, weights = context.inputs["graph"].path, context.inputs.get("weights")
        said, expected = _references(
            subject, graph, weights.path if weights else None, cases, verify.threads, context.emit
        )
        from cosybuild.backends import onnxruntime_backend

        session = onnxruntime_backend.load(graph, provider=verify.provider, threads=verify.threads)
        tolerance = tolerance_of(verify)
        records = []
        for index, (case, reference) in enumerate(zip(cases, expected, strict=True)):
            actual = _infer(session, case, subject)
            records.append({"case": case.name, "why": case.why, **_facts(case)})
            records[-1]["outputs"] = {name: _figures(actual[name], reference[name]) for name in reference}
            _hold(case, actual, reference, tolerance, session.device, context.emit)
            context.emit("progress", done=len(cases) + index + 1, total=2 * len(cases), what=case.name)
        metrics = {
            "mode": verify.mode.value,
            "reference": said,
            "device": session.device,
            "tolerance": asdict(tolerance),
            "cases": len(cases),
            "worst": _worst(records),
        }
        path = context.workdir / "verification.json"
        record = {"schema": SCHEMA, **metrics, "seed": verify.seed, "cases": records}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return StageResult({"verification": [path]}, metrics)


def cases_of(request: Request) -> tuple[Case, ...]:
    """What is compared; in the streaming variant also the lengths at which a chunk ends."""
    verify, subject = request.settings.verify, request.subject
    assert verify is not None
    if verify.mode is VerifyMode.upstream:
        return upstream_cases(subject.spec, verify.seed)
    chunk = subject.hyperparameters.get("static_chunk_size", 0) if subject.streaming else 0
    ends = (chunk - 1, chunk, chunk + 1, 2 * chunk + 1) if chunk else ()
    return strict_cases(subject.spec, _profiles(request), verify.seed, {"seq_len": ends})


def tolerance_of(verify: VerifySettings) -> Tolerance:
    """`upstream` is numpy's allclose; `strict` follows the size of the output."""
    return Tolerance(verify.rtol, verify.atol, verify.mode is VerifyMode.strict, verify.snr_db)


def _profiles(request: Request) -> tuple[Profile, ...]:
    """Only strict verification looks at the profile, so only there does it stand in the key."""
    verify = request.settings.verify
    if verify is None or verify.mode is not VerifyMode.strict:
        return ()
    return expand_profiles(request.settings.trt_profile, request.subject.spec)


def _references(
    subject: Subject, graph: Path, weights: Path | None, cases: Sequence[Case], threads: int, emit: Emit
) -> tuple[str, list[dict[str, Array]]]:
    """What computed them, and the outputs of every case.

    They are computed before the artifact is loaded: together the two would hold the weights twice.
    """
    session: Session
    if subject.graph is not None:
        from cosybuild.backends import onnxruntime_backend

        session = onnxruntime_backend.load(graph, threads=threads, optimised=False)
        said = UNOPTIMISED
    else:
        from cosybuild.backends import torch_backend
        from cosybuild.models.load import load_module

        names = [[tensor.name for tensor in side] for side in (subject.spec.inputs, subject.spec.outputs)]
        session = torch_backend.load(load_module(subject, weights), *names)
        said = session.device
    outputs = []
    for index, case in enumerate(cases):
        outputs.append(_infer(session, case, subject))
        emit("progress", done=index + 1, total=2 * len(cases), what=f"reference of {case.name}")
    return said, outputs


def _infer(session: Session, case: Case, subject: Subject) -> dict[str, Array]:
    from cosybuild.backends.session import InferenceFailed

    try:
        return session.infer(case.inputs(subject.spec))
    except InferenceFailed as error:
        raise VerificationError(
            f"Case {case.name}: {session.device} cannot compute it: {error}",
            hint="Next: if the size is one the model does not take, narrow trt_profile; otherwise an axis is "
            "frozen in the graph: look for the place in the module that turns a size into a Python number.",
        ) from error


def _hold(
    case: Case,
    actual: Mapping[str, Array],
    reference: Mapping[str, Array],
    tolerance: Tolerance,
    device: str,
    emit: Emit,
) -> None:
    """Raise VerificationError where an output does not pass."""
    for name, values in reference.items():
        mismatch = compare(actual[name], values, tolerance)
        if mismatch is None:
            continue
        emit("note", message=f"the case that fails: {case.name}", case=_facts(case), output=name, **mismatch.facts())
        raise VerificationError(
            f"Case {case.name} on {device}: {mismatch.describe(name)} ({tolerance}).",
            hint="Next: the artifact computes something else, do not use it. To see where it begins, compare "
            "simplify=none and export.exporter=dynamo; to repeat only this check, keep verify.seed as it is.",
        )


def _figures(actual: Array, reference: Array) -> dict[str, float | None]:
    if actual.shape != reference.shape:
        return {}
    return {name: value if math.isfinite(value) else None for name, value in measure(actual, reference).items()}


def _worst(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest error of all cases, and where it was."""
    found: dict[str, Any] = {"max_abs": 0.0, "case": records[0]["case"] if records else ""}
    for record, figures in _all_figures(records):
        if (figures["max_abs"] or 0.0) > found["max_abs"]:
            found = {"max_abs": figures["max_abs"], "max_rel": figures["max_rel"], "case": record["case"]}
    ratios = [f["snr_db"] for _, f in _all_figures(records) if f["snr_db"] is not None]
    return {**found, "snr_db": min(ratios, default=None)}


def _all_figures(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    for record in records:
        for figures in record["outputs"].values():
            yield record, figures


def _facts(case: Case) -> dict[str, Any]:
    draw = case.draw
    return {
        "sizes": dict(draw.sizes),
        "seed": draw.seed,
        "padded": draw.padded,
        "guidance": draw.guidance,
        "time": draw.time.value,
    }


def _plain(profile: Profile) -> dict[str, Any]:
    return {symbol: asdict(sizes) for symbol, sizes in profile.items()}
