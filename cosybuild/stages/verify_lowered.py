"""The lowered graph against the float32 graph, as ONNX Runtime computes it and as its storage type stores it.

Both see the same inputs, rounded to the types of the lowered graph's interface: what a HALF interface costs
(t = 0.7 in fp16 is a phase of up to 0.24 rad away) is the runtime's choice, `precision.io`, and no defect of
the graph.

Tolerances are signal-to-noise ratios of each output, with a limit on the single worst element. Measured on
CosyVoice 1, 2 and 3, full size and tiny, random weights, 4 to 150 frames, the worst of all cases:

    fp16 53.8 dB, error / rms 0.02    bf16 35.3 dB, 0.17    mixed 57.5 dB, 0.02 (full size: CosyVoice 1 only)

Rounding once to 11 bits leaves 6.02 * 11 + 1.76 = 68 dB, to 8 bits 50 dB; some 15 dB go on the way through the
layers. The gates stand 10 to 12 dB below what was measured, for longer inputs and for weights that are not
random. fp16 with weights that drive the residual stream to 3.9e4 stays at 52 dB, with the nodes there in
fp32; a time embedding lowered whole misses the gate by itself.

Lengths above 1024 are not run: an emulated run takes minutes and gigabytes there, ranges hardly grow with the
length, and an engine's own execution covers the whole profile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.precision import InputOutput, Target
from cosybuild.core.environment import Environment
from cosybuild.core.stage import RunContext, StageResult
from cosybuild.errors import VerificationError
from cosybuild.models.profile import BATCH, Profile, expand_profiles
from cosybuild.numerics.inputs import Draw, Time, draw_inputs
from cosybuild.stages.contract import Examined, hold_contract, retyped
from cosybuild.stages.request import Request

if TYPE_CHECKING:
    from pathlib import Path

    from cosybuild.backends.onnxruntime_backend import OnnxRuntimeSession
    from cosybuild.numerics.inputs import Array
    from cosybuild.precision.faithful import FaithfulSession

LONGEST = 1024


@dataclass(frozen=True)
class Gate:
    """What every output of every case must reach.

    Attributes:
        snr_db: smallest signal-to-noise ratio, in dB.
        max_rel: largest error of one element over the output's root mean square.
    """

    snr_db: float
    max_rel: float


GATES = {Target.fp16: Gate(42.0, 0.1), Target.mixed: Gate(46.0, 0.1), Target.bf16: Gate(25.0, 0.6)}


class VerifyLoweredStage:
    """Makes `lowered_verification`, the record of all cases."""

    name = "verify_lowered"
    label = "verify lowered"
    version = 2
    needs = ("lowered", "graph")
    makes = ("lowered_verification",)
    cacheable = True
    deterministic = True
    device = "cpu"

    def settings(self, request: Request) -> Mapping[str, Any]:
        verify = request.settings.verify
        assert verify is not None
        return {
            "target": request.settings.precision.target.value,
            "gate": asdict(gate_of(request)),
            "cases": [{"why": why, **_facts(draw)} for why, draw in cases(request)],
            "provider": verify.provider.value,
            "spec": asdict(request.subject.spec),
            "io": request.settings.precision.io.value,
            "streaming": request.subject.streaming,
            "hyperparameters": dict(request.subject.hyperparameters),
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        packages = ("onnx-ir", "onnxruntime", "onnxruntime-gpu")
        return {name: environment.version(name) or "absent" for name in packages}

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        return ()

    def run(self, context: RunContext) -> StageResult:
        import onnx_ir as ir

        from cosybuild.backends.onnxruntime_backend import load
        from cosybuild.onnxgraph.files import load_model
        from cosybuild.precision.faithful import FaithfulSession

        request: Request = context.request
        verify, target = request.settings.verify, request.settings.precision.target
        assert verify is not None
        paths = {slot: context.inputs[slot].path for slot in ("lowered", "graph")}
        lowered = ir.from_proto(load_model(paths["lowered"]))
        faithful = FaithfulSession(lowered, ir.from_proto(load_model(paths["graph"])), verify.threads)
        reference = load(paths["graph"], provider=verify.provider, threads=verify.threads)
        # ONNX Runtime has hardly a bfloat16 kernel for the CPU; the emulation is the check there.
        plain = None
        if target is not Target.bf16:
            plain = load(paths["lowered"], provider=verify.provider, threads=verify.threads)
        gate, records = gate_of(request), []
        planned = list(cases(request))
        for index, (why, draw) in enumerate(planned):
            case = LoweredCase(f"{' '.join(f'{s}={n}' for s, n in draw.sizes.items())} ({why})", gate)
            typed = typed_inputs(draw_inputs(request.subject.spec, draw), lowered)
            inputs = {name: widened(values) for name, values in typed.items()}
            expected = reference.infer(inputs)
            stored, guilty = faithful.infer(inputs)
            if guilty is not None:
                raise VerificationError(
                    f"The {target.value} graph gives values that are not finite, case {case.name}: {guilty}.",
                    hint=f"Next: precision.keep_fp32=['{guilty.node}'] keeps that node in float32; or lower "
                    "precision.data_max, or calibrate on inputs like these (precision.calibration).",
                )
            record: dict[str, Any] = {"case": case.name, "as_stored": case.hold(stored, expected, "as stored")}
            if plain is not None:
                record["onnxruntime"] = case.hold(plain.infer(typed), expected, plain.device)
            records.append(record)
            context.emit("progress", done=index + 1, total=len(planned), message=case.name)
        # Last: the cases name the node that is to blame where values are not finite.
        contract = hold_contract(
            _examined(paths["lowered"], request, plain, faithful),
            request.subject,
            expand_profiles(request.settings.trt_profile, request.subject.spec),
            verify.seed,
        )
        metrics = {"target": target.value, "gate": asdict(gate), "cases": records, "worst": _worst(records)}
        metrics["contract"] = contract
        if plain is None:
            metrics["note"] = "bfloat16: ONNX Runtime's CPU has no kernels; checked by emulated storage only"
        report = context.workdir / "lowered_verification.json"
        report.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        return StageResult({"lowered_verification": [report]}, metrics)


class _Stored:
    """A graph as its storage type stores it, behind the call of every backend."""

    device = "emulated storage"

    def __init__(self, faithful: FaithfulSession) -> None:
        self._faithful = faithful

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._faithful.infer(inputs)[0]


def _examined(path: Path, request: Request, plain: OnnxRuntimeSession | None, faithful: FaithfulSession) -> Examined:
    """The typed graph for its contract, in ONNX Runtime where that has the kernels."""
    from cosybuild.precision.storage import storage_of

    precision, spec = request.settings.precision, request.subject.spec
    storage = storage_of(precision.target)
    assert storage is not None, precision.target
    lower = storage.name.lower()
    narrow = precision.io is InputOutput.match and precision.target is not Target.mixed
    declared = retyped(spec, lower) if narrow else spec
    if plain is None:
        return Examined(path, declared, _Stored(faithful), spec, None, lower)
    return Examined(path, declared, plain, declared, plain.infer_in_place, lower)


def gate_of(request: Request) -> Gate:
    """The target's gate, with the ratio that `precision.snr_db` states."""
    precision = request.settings.precision
    gate = GATES[precision.target]
    return gate if precision.snr_db is None else Gate(precision.snr_db, 10 ** (-precision.snr_db / 20) * 8)


def cases(request: Request) -> Iterator[tuple[str, Draw]]:
    """Each profile's min, opt and max, at most 1024, of the kinds that differ in range, cheap ones first."""
    verify = request.settings.verify
    assert verify is not None
    spec = request.subject.spec
    kinds: tuple[dict[str, Any], ...] = (
        {"time": Time.start, "padded": True},
        {"time": Time.end, "guidance": spec.guidance},
        {"time": Time.any, "guidance": spec.guidance, "padded": True},
        {"time": Time.end, "padded": True},
    )
    seen: dict[tuple[int, ...], tuple[str, dict[str, int]]] = {}
    for profile in expand_profiles(request.settings.trt_profile, spec):
        for point in ("min", "opt", "max"):
            sizes = {symbol: _size(profile, symbol, point) for symbol in spec.symbols}
            seen.setdefault(tuple(sizes.values()), (f"profile {point}", sizes))
    ordered = [seen[key] for key in sorted(seen)]
    for index, (why, sizes) in enumerate(ordered):
        yield why, Draw(sizes, verify.seed + index, **kinds[index % len(kinds)])
    if ordered:
        why, sizes = ordered[0]
        yield why, Draw(sizes, verify.seed + len(ordered), **kinds[-1])


def _size(profile: Profile, symbol: str, point: str) -> int:
    stated = profile[symbol]
    return stated.min if symbol == BATCH else max(stated.min, min(int(getattr(stated, point)), LONGEST))


@dataclass(frozen=True)
class LoweredCase:
    name: str
    gate: Gate

    def hold(self, actual: Mapping[str, Array], expected: Mapping[str, Array], how: str) -> dict[str, Any]:
        """The figures of each output.

        Raises:
            VerificationError: an output misses the gate or is not finite.
        """
        import numpy as np

        from cosybuild.numerics.metrics import measure, worst_index

        figures = {}
        for name, reference in expected.items():
            values = np.asarray(actual[name], np.float32)
            if not np.isfinite(values).all() or not np.isfinite(reference).all():
                whose = "output" if np.isfinite(reference).all() else "float32 reference of"
                raise VerificationError(
                    f"Case {self.name}, {how}: the {whose} {name} holds values that are not finite.",
                    hint="Next: precision=fp32, or precision.keep_fp32 with the nodes the message above names.",
                )
            found = measure(values, reference)
            if found["snr_db"] < self.gate.snr_db or found["max_rel"] > self.gate.max_rel:
                index = worst_index(values, reference)
                raise VerificationError(
                    f"Case {self.name}, {how}: {name} has a signal-to-noise ratio of {found['snr_db']:.1f} dB and a "
                    f"largest error of {found['max_rel']:.3g} of its rms; at least {self.gate.snr_db:g} dB and at most "
                    f"{self.gate.max_rel:.3g} are expected. The worst element {list(index)} is {values[index]:.6g}, "
                    f"the reference {reference[index]:.6g}.",
                    hint="Next: precision.keep_fp32=[...] for the parts that lose digits, or precision.snr_db=N to "
                    "accept less.",
                )
            figures[name] = {k: v if np.isfinite(v) else str(v) for k, v in found.items()}
        return figures


def typed_inputs(inputs: Mapping[str, Array], lowered: Any) -> dict[str, Array]:
    """Inputs in the types the typed graph declares."""
    return {value.name: inputs[value.name].astype(value.dtype.numpy()) for value in lowered.graph.inputs}


def widened(values: Array) -> Array:
    """The same numbers in float32, where the interface is narrower."""
    return values.astype("float32") if values.dtype.name in ("float16", "bfloat16") else values


def _worst(records: list[dict[str, Any]]) -> dict[str, float]:
    figures = [output for r in records for how in r if how != "case" for output in r[how].values()]
    numbers = {name: [f[name] for f in figures if isinstance(f[name], float)] for name in ("snr_db", "max_rel")}
    return {
        "snr_db": min(numbers["snr_db"], default=float("1e9")),
        "max_rel": max(numbers["max_rel"], default=0.0),
    }


def _facts(draw: Draw) -> dict[str, Any]:
    return {**draw.sizes, "seed": draw.seed, "padded": draw.padded, "guidance": draw.guidance, "time": draw.time.value}
