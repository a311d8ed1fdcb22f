"""Lower the node cases of ONNX's backend tests, and count those that are right, refused, crashed and wrong.

    python benchmarks/backend_cases.py               # writes the table of docs/verification.md; takes minutes
    python benchmarks/backend_cases.py --only 'conv' # the cases whose name has this text, without writing
    python benchmarks/backend_cases.py --list        # also names each case that is not right

Each case is one operator with inputs and expected outputs. A case counts if its tensors are numbers, and
if ONNX Runtime computes the outputs that ONNX expects from the graph as it is.

right     the lowered graph passes the gates of its type, with emulated storage and on ONNX Runtime if it has kernels
refused   an error for users says why the graph is not lowered, or a gate fails
crashed   any other exception
wrong     the gates pass, but an output is far from what ONNX expects
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.backend.test.case.node import collect_testcases

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.session import InferenceFailed
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.errors import CosybuildError
from cosybuild.numerics.gates import LOWERED
from cosybuild.onnxgraph.check import InvalidGraph, check_model
from cosybuild.precision.decide import decide, examine_all
from cosybuild.precision.emulated_session import EmulatedSession
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import lower
from cosybuild.precision.ranges import measure_ranges
from cosybuild.precision.storage import storage_of
from cosybuild.verification.judge import Limits, compare_outputs, first_fault
from cosybuild.verification.lowered_gates import to_float32, typed_inputs

TARGETS = (Target.fp16, Target.bf16, Target.mixed)
VERDICTS = ("right", "refused", "crashed", "wrong")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "verification.md"
BEGIN, END = "<!-- made by benchmarks/backend_cases.py -->", "<!-- end of what benchmarks/backend_cases.py made -->"
FAR = 0.1
"""Largest error, as a share of the largest expected magnitude, of a value that counts as near."""


@dataclass(frozen=True)
class Case:
    """One runnable case: its graph, inputs by name, outputs of the float32 graph, and the outputs that ONNX expects."""

    name: str
    model: onnx.ModelProto
    inputs: Mapping[str, Any]
    plain: Mapping[str, Any]
    expected: Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The result of one case for one target; `why` is the class of a refusal or of a crash."""

    case: str
    target: Target
    word: str
    why: str = ""


def runnable(only: str, place: Path, names: Sequence[str] = ()) -> Iterator[Case]:
    """Yield the cases of numeric tensors that ONNX Runtime computes as ONNX expects.

    Args:
        only: a text that each name contains.
        place: a directory for files.
        names: the names of the cases; empty for all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        if names and case.name not in names:
            continue
        if only not in case.name or case.model is None or not case.data_sets:
            continue
        given, wanted = case.data_sets[0]
        graph = case.model.graph
        if not all(isinstance(value, np.ndarray) and value.dtype.kind not in "OSU" for value in (*given, *wanted)):
            continue
        inputs = dict(zip([value.name for value in graph.input], given, strict=False))
        path = place / "case.onnx"
        onnx.save(case.model, path)
        try:
            plain = onnxruntime_backend.load(path, level=onnxruntime_backend.Level.none).infer(inputs)
        except (CosybuildError, InferenceFailed, RuntimeError, ValueError, TypeError):
            continue
        expected = dict(zip([v.name for v in graph.output], wanted, strict=False))
        if all(_near(plain[name], values) for name, values in expected.items()):
            yield Case(case.name, case.model, inputs, plain, expected)


def judged(case: Case, target: Target, place: Path) -> Verdict:
    """Lower one case, run it, and return what came of it."""
    try:
        outputs = _lowered_outputs(case, target, place)
    except (CosybuildError, InvalidGraph, InferenceFailed) as error:
        return Verdict(case.name, target, "refused", f"{type(error).__name__}: {' '.join(str(error).split())[:150]}")
    except Exception as error:  # every other exception is a crash, which this script counts
        return Verdict(case.name, target, "crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:150]}")
    for name, wanted in case.expected.items():
        if not _near(outputs[name], wanted):
            return Verdict(case.name, target, "wrong", name)
    return Verdict(case.name, target, "right")


def _lowered_outputs(case: Case, target: Target, place: Path) -> Mapping[str, Any]:
    settings, storage = PrecisionSettings(target=target), storage_of(target)
    assert storage is not None
    model = ir.from_proto(case.model)
    prepare(model, storage)
    ranges = measure_ranges(model, [case.inputs])
    constants = examine_all(model, storage)
    lowered = lower(model, decide(model, ranges, settings, constants)).model
    proto = ir.to_proto(lowered)
    check_model(proto)
    typed = typed_inputs(case.inputs, lowered)
    inputs = {name: to_float32(values) for name, values in typed.items()}
    stored, guilty = EmulatedSession(lowered, model).infer(inputs)
    if guilty is not None:
        raise InferenceFailed(f"gate: not finite, {guilty.op}")
    answers = [stored]
    if target is not Target.bf16:
        path = place / "lowered.onnx"
        onnx.save(proto, path)
        answers.append(onnxruntime_backend.load(path).infer(typed))
    limits = Limits(LOWERED[target], target=target)
    for answer in answers:
        fault = first_fault(compare_outputs(answer, case.plain, limits))
        if fault is not None:
            raise InferenceFailed(f"gate: {fault.text}")
    return answers[-1]


def _near(actual: Any, wanted: Any) -> bool:
    if actual.shape != wanted.shape:
        return False
    if wanted.dtype.kind not in "fV":
        return bool(np.mean(actual != wanted) <= FAR) if wanted.size else True
    values, targets = actual.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(targets)
    largest = float(np.max(np.abs(targets), initial=0.0, where=finite))
    return bool(np.all(np.abs(values[finite] - targets[finite]) <= FAR * max(largest, 1e-3)))


def table(verdicts: Sequence[Verdict], cases: int) -> str:
    """Return the table for the page."""
    head = [f"{cases} cases.", "", f"| | {' | '.join(VERDICTS)} |", f"| --- |{' --- |' * len(VERDICTS)}"]
    rows = []
    for target in TARGETS:
        count = collections.Counter(one.word for one in verdicts if one.target is target)
        rows.append(f"| `precision={target.value}` | {' | '.join(str(count[word]) for word in VERDICTS)} |")
    return "\n".join([*head, *rows])


def refusals(verdicts: Sequence[Verdict]) -> str:
    """Return the classes of refusals with their counts, the most common ones first."""
    count = collections.Counter(one.why.split(":", 1)[0] if not one.why.startswith("InferenceFailed") else
                                ("gate" if "gate:" in one.why else "runtime")
                                for one in verdicts if one.word == "refused")  # fmt: skip
    return ", ".join(f"{name} {number}" for name, number in count.most_common())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    verdicts: list[Verdict] = []
    count = 0
    with tempfile.TemporaryDirectory() as place:
        for case in runnable(options.only, Path(place)):
            count += 1
            verdicts += [judged(case, target, Path(place)) for target in TARGETS]
    if options.list:
        for one in verdicts:
            if one.word != "right":
                print(one.word, one.case, one.target.value, one.why, sep="\t")
    text = table(verdicts, count)
    print(text, f"\nRefusals: {refusals(verdicts)}.")
    if not options.only:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(
            f"{before}{BEGIN}\n\n{text}\n\nRefusals: {refusals(verdicts)}.\n\n{END}{after}", encoding="utf-8"
        )
    return int(any(one.word in ("crashed", "wrong") for one in verdicts))


if __name__ == "__main__":
    sys.exit(main())
