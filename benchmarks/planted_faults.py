"""Measure which gate catches each planted fault, the size of the fault there, and the margin to a right build.

    python benchmarks/planted_faults.py            # writes the tables of docs/verification.md
    python benchmarks/planted_faults.py --check    # exit code 1 where they, or what is measured, say something else

Each fault is planted in a tiny model (benchmarks/faults.py), built by the product's own stages and verified by them;
the failure must name the gate. The table also has the figure of a build without the fault. The margin is how
many times smaller the right build's error is than the fault's. It must be at least 10 for each fault, and for each
gate's smallest fault against the worst right build.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from fault_builds import Made, planted_in, right_build
from faults import FAULTS, Fault

from cosybuild.backends.onnxruntime_backend import load
from cosybuild.errors import VerificationError
from cosybuild.numerics.inputs import Draw, Time, draw_inputs
from cosybuild.numerics.metrics import snr_db
from cosybuild.precision.graph import name_of, prepare
from cosybuild.precision.ranges import measure_ranges
from cosybuild.precision.storage import FP16
from cosybuild.request import Request
from cosybuild.stages.precision import PrecisionStage
from cosybuild.stages.verify import EXPORTED, VerifyStage
from cosybuild.stages.verify_lowered import VerifyLoweredStage
from cosybuild.store.artifact import Artifact
from cosybuild.verification.reference import read_reference
from cosybuild.verification.scope import cases_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "verification.md"
BEGIN, END = "<!-- made by benchmarks/planted_faults.py -->", "<!-- end of what benchmarks/planted_faults.py made -->"
MARGIN = 10.0


@dataclass(frozen=True)
class Reading:
    """The figure of a gate in one build.

    Attributes:
        value: a signal-to-noise ratio in dB, or an amount.
        bound: the gate's bound: the smallest ratio, or the largest amount.
        unit: `dB`, or the unit of the amount.
    """

    value: float
    bound: float
    unit: str

    @property
    def error(self) -> float:
        """Return the value as the amplitude of an error."""
        return 10 ** (-self.value / 20) if self.unit == "dB" else self.value

    def __str__(self) -> str:
        return (
            "no difference" if self.error == 0 and self.unit == "dB" else f"{_figure(self.value)} {self.unit}".strip()
        )


@dataclass(frozen=True)
class Row:
    """A fault, the verdict of verification, and its gate's readings with and without the fault."""

    fault: Fault
    said: str
    faulty: Reading
    clean: Reading

    @property
    def caught(self) -> bool:
        return self.fault.names in self.said

    @property
    def margin(self) -> float:
        return _margin(self.faulty, self.clean)


@dataclass(frozen=True)
class Verdict:
    """The message of a failed verification (empty if it passes), its metrics, and its emitted facts."""

    said: str
    metrics: dict[str, Any]
    heard: list[dict[str, Any]]


def verified(made: Made, schedule: str | None = None) -> Verdict:
    """Verify a build; `schedule` replaces the model directory's in the artifact's solver."""
    build, request = made.build, made.build.request
    if schedule is not None:
        assert request.subject.solver is not None
        solver = replace(request.subject.solver, schedule=schedule)
        request = replace(request, subject=replace(request.subject, solver=solver))
    inputs = {"graph": made.graph, "reference": made.reference, EXPORTED: made.exported}
    try:
        return Verdict("", dict(build.run(VerifyStage(), request, **inputs).metrics), build.heard)
    except VerificationError as error:
        return Verdict(str(error), {}, build.heard)


def reading(fault: Fault, made: Made, verdict: Verdict) -> Reading:
    """Return the figure of the fault's gate in a build."""
    if fault.gate.startswith("hop"):
        return _hop(made.build.request, fault.gate, made.reference, made.exported, made.graph)
    if fault.gate == "solver":
        return _solver(made.build.request, verdict)
    return _property(fault.gate, verdict)


def _hop(request: Request, gate: str, reference: Artifact, exported: Artifact, graph: Artifact) -> Reading:
    """Return the worst figure of a hop, of all cases."""
    assert request.settings.verify is not None
    before, after = load(exported.path), load(graph.path if gate == "hop simplify" else exported.path)
    own, ratios = read_reference(reference.path), []
    for case in cases_of(request):
        inputs = case.inputs(request.subject.spec)
        expected = own.find(case.draw) if gate == "hop export" else before.infer(inputs)
        assert expected is not None
        actual = after.infer(inputs)
        ratios += [snr_db(actual[name], values) for name, values in expected.items()]
    hops = request.settings.verify.hops
    return Reading(min(ratios), (hops.export if gate == "hop export" else hops.simplify)["snr_db"], "dB")


def _solver(request: Request, verdict: Verdict) -> Reading:
    assert request.settings.verify is not None
    assert request.settings.verify.solver is not None
    runs = verdict.metrics.get("solver") or [facts for facts in verdict.heard if "steps_snr_db" in facts]
    ratios = [float(value) for run in runs for value in run["steps_snr_db"]]
    return Reading(min(ratios), request.settings.verify.solver.step_snr_db, "dB")


def _property(name: str, verdict: Verdict) -> Reading:
    metrics = verdict.metrics
    lists = [metrics["contract"]] if metrics else [facts for facts in verdict.heard if "properties" in facts]
    found = [one for several in lists for one in several["properties"] if one["property"] == name]
    unit = "wrong sizes" if name == "axes" else "of rms"
    return Reading(max(float(one["value"]) for one in found), found[0]["bound"], unit)


def _lowered(made: Made) -> tuple[str, Reading]:
    """Return the verdict on the lowered graph, and the largest float32 value of a tensor that it stores in fp16."""
    build, graph = made.build, made.graph
    lowered = build.make(PrecisionStage(), "lowered", graph=graph)
    said = ""
    try:
        build.run(VerifyLoweredStage(), lowered=lowered, graph=graph)
    except VerificationError as error:
        said = str(error)
    typed, model = ir.load(str(lowered.path)), ir.load(str(graph.path))
    prepare(model, FP16)
    stored = {name_of(v) for node in typed.graph for v in node.outputs if v.dtype is ir.DataType.FLOAT16}
    # Without masked frames, because the values of an additive mask are close to the limit of fp16.
    sample = draw_inputs(build.request.subject.spec, Draw({"seq_len": 24}, 0, time=Time.end, guidance=True))
    ranges = measure_ranges(model, [sample]).tensors
    return said, Reading(max(ranges[name].max_abs for name in stored & set(ranges)), FP16.max, "largest")


def measure_all(faults: Sequence[Fault] = FAULTS) -> Iterator[Row]:
    """Measure every fault, in order; a model's right build is made and verified once, and read at every gate."""
    with tempfile.TemporaryDirectory() as scratch:
        right: dict[tuple[object, ...], tuple[Made, Verdict]] = {}
        for number, fault in enumerate(faults):
            model = (fault.model, fault.streaming, fault.dynamic_batch, fault.lowered)
            if model not in right:
                made = right_build(fault, Path(scratch) / f"right-{len(right)}")
                right[model] = made, verified(made)
            made, clean = right[model]
            assert not clean.said, f"the right {fault.model} does not pass: {clean.said}"
            spoiled = planted_in(fault, made, Path(scratch) / f"fault-{number}")
            if fault.lowered:
                (clean_said, clean_reading), (said, faulty) = _lowered(made), _lowered(spoiled)
                assert not clean_said, f"the right lowered {fault.model} does not pass: {clean_said}"
                yield Row(fault, said, faulty, clean_reading)
                continue
            verdict = verified(spoiled, fault.schedule)
            yield Row(fault, verdict.said, reading(fault, spoiled, verdict), reading(fault, made, clean))


def complaints(rows: Sequence[Row]) -> list[str]:
    """Return one line for each reading that is not as expected."""
    lines = [f"{row.fault.name}: not called `{row.fault.names}`, but: {row.said}" for row in rows if not row.caught]
    lines += [f"{row.fault.name}: margin {row.margin:.1f}" for row in rows if row.margin < MARGIN]
    for gate, faulty, clean in gates(rows):
        if _margin(faulty, clean) < MARGIN:
            lines.append(f"gate {gate}: its smallest fault is {faulty}, the worst right build {clean}")
    return lines


def gates(rows: Sequence[Row]) -> Iterator[tuple[str, Reading, Reading]]:
    """Yield each gate with the reading of its smallest fault and of the worst right build."""
    for gate in dict.fromkeys(row.fault.gate for row in rows):
        several = [row for row in rows if row.fault.gate == gate]
        smallest = min((row.faulty for row in several), key=lambda reading: reading.error)
        yield gate, smallest, max((row.clean for row in several), key=lambda reading: reading.error)


def tables(rows: Sequence[Row]) -> list[str]:
    """Return both tables as Markdown."""
    lines = ["| fault | planted | in | caught by | reads | gate | right build | margin |", "|" + " --- |" * 8]
    for row in rows:
        fault = row.fault
        model = fault.model + ", streaming" * fault.streaming + ", dynamic batch" * fault.dynamic_batch
        cells = [fault.name, fault.planted, model, fault.gate, row.faulty, _bound(row.clean), row.clean]
        lines.append(f"| {' | '.join(map(str, cells))} | {_times(row.margin)} |")
    lines += ["", "| gate | bound | smallest fault | worst right build | margin |", "|" + " --- |" * 5]
    for gate, faulty, clean in gates(rows):
        lines.append(f"| {gate} | {_bound(clean)} | {faulty} | {clean} | {_times(_margin(faulty, clean))} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something differs")
    arguments = parser.parse_args()
    rows = []
    for row in measure_all():
        rows.append(row)
        print(f"{row.fault.name}: {row.faulty}, right build {row.clean}; {row.said[:160]}", flush=True)
    wrong = complaints(rows)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    written, after = rest.split(END)
    made = "\n".join(["", *tables(rows), ""])
    if arguments.check and _verdicts(written) != _verdicts(made):
        wrong.append(f"{PAGE.name} says something else: run this script without --check")
    if not arguments.check:
        PAGE.write_text(before + BEGIN + made + END + after, encoding="utf-8")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _verdicts(text: str) -> list[list[str]]:
    """Return each row's fault and gate, without the figures, which are rounding errors and differ between CPUs."""
    return [[cell.strip() for cell in line.split("|")[1:5]] for line in text.splitlines() if line.count("|") == 9]


def _margin(faulty: Reading, clean: Reading) -> float:
    return math.inf if clean.error == 0 else faulty.error / clean.error


def _bound(reading: Reading) -> str:
    return f"{'at least' if reading.unit == 'dB' else 'at most'} {_figure(reading.bound)}"


def _times(margin: float) -> str:
    return "any" if math.isinf(margin) else f"{_figure(margin)}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == 0 or 100 <= abs(value) < 1e7 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
