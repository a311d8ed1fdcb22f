"""The stage that measures the speed of artifacts and of PyTorch.

Torch and the runtimes are imported only when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from cosybuild import figure
from cosybuild.benchmarking.rounds import Budget, Call, Rounds, measure_rounds
from cosybuild.benchmarking.runners import Absent, CannotRun, TimedCall, cpu_threads, gather
from cosybuild.benchmarking.timing import family_confidence, judge, median_interval, rounds_needed
from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.config.groups.benchmark import BenchmarkSettings, Point
from cosybuild.errors import ConfigurationError
from cosybuild.models.shape_profile import BATCH, FRAMES
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Array, Draw, draw_inputs
from cosybuild.numerics.real_inputs import read_batch
from cosybuild.request import Request
from cosybuild.stages.engine import expand_engine_stages
from cosybuild.store.result import StageResult
from cosybuild.system.clock import SYSTEM_CLOCK
from cosybuild.system.memory import PeakMemory
from cosybuild.verification.scope import given_digests

SCHEMA = 1

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class BenchmarkStage(Stage[Request]):
    """The stage that times all runners in the same rounds. It fills the slot `benchmark` with samples and comparisons.

    Attributes:
        engines: slots of the engines and the IR that this build makes on this machine.
        unbuilt: (label, reason) of each engine or IR that cannot be built on this machine; they are listed in the
            record.
    """

    engines: tuple[str, ...] = ()
    unbuilt: tuple[tuple[str, str], ...] = ()

    name = "benchmark"
    does = "measures the speed of each artifact"
    version = 1
    makes = ("benchmark",)
    cacheable = False
    deterministic = False

    @property
    def needs(self) -> tuple[str, ...]:
        return ("graph", "lowered?", "weights?", *(f"{slot}?" for slot in self.engines))

    def settings(self, request: Request) -> Mapping[str, Any]:
        benchmark = benchmark_settings(request)
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(benchmark).items()}
        plain.update(given_digests(request))
        return {**plain, "points": [point.value for point in benchmark.points], "provider": benchmark.provider.value}

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        benchmark, subject = benchmark_settings(request), request.subject
        with cpu_threads(benchmark.threads):
            found = gather(request, context.inputs)
            runners = [one for one in found if isinstance(one, TimedCall)]
            absent = [Absent(*pair) for pair in self.unbuilt] + [one for one in found if isinstance(one, Absent)]
            cases = [_timed(runners, request, sizes, benchmark, context.emit) for sizes in sizes_of(request, benchmark)]
        summary = {
            "contestants": [{"name": one.name, "device": one.device} for one in runners],
            "absent": [asdict(one) for one in absent],
            "threads": benchmark.threads,
            "confidence": benchmark.confidence,
            "margin": benchmark.margin,
            "solver_steps": None if subject.solver is None else subject.solver.steps,
            "cases": [{key: value for key, value in case.items() if key != "samples"} for case in cases],
        }
        path = context.workdir / "benchmark.json"
        record = {"schema": SCHEMA, **summary, "settings": dict(self.settings(request)), "cases": cases}
        path.write_text(figure.dumps(record, indent=1) + "\n", encoding="utf-8")
        return StageResult({"benchmark": [path]}, summary)


def expand_benchmark_stages(request: Request) -> tuple[BenchmarkStage, ...]:
    """Return the benchmark step; none if benchmark=none.

    Engines and the IR that cannot be built on this machine are listed with a reason and not timed.

    Raises:
        ConfigurationError: the settings ask for batches of a fixed batch axis, or for torch.compile of an ONNX file.
    """
    if request.settings.benchmark is None:
        return ()
    _check(request.settings.benchmark, request.subject)
    built: list[str] = []
    unbuilt = []
    for stage in expand_engine_stages(request):
        missing = stage.missing(request, request.environment)
        if missing:
            unbuilt.append((stage.label, f"not built on this machine: it needs {', '.join(missing)}"))
        else:
            built += stage.makes
    if request.settings.ov is not None:
        from cosybuild.stages.openvino import OpenVinoStage

        ir = OpenVinoStage()
        if missing := ir.missing(request, request.environment):
            unbuilt.append((ir.label, f"not built on this machine: it needs {', '.join(missing)}"))
        else:
            built += ir.makes
    return (BenchmarkStage(tuple(built), tuple(unbuilt)),)


def _check(benchmark: BenchmarkSettings, subject: Subject) -> None:
    if benchmark.batches and BATCH not in subject.spec.symbols:
        raise ConfigurationError(
            f"benchmark.batches={list(benchmark.batches)}, but the batch axis of this build is fixed.",
            hint="Next: add export.dynamic_batch=true, or remove benchmark.batches.",
        )
    if benchmark.compile and subject.graph is not None:
        raise ConfigurationError(
            f"benchmark.compile=true, but {subject.graph.name} is an ONNX file: it has no PyTorch module that could "
            "be compiled.",
            hint="Next: remove benchmark.compile.",
        )


def benchmark_settings(request: Request) -> BenchmarkSettings:
    """Return the settings of the configuration group `benchmark`. A build with a benchmark step always has them."""
    assert request.settings.benchmark is not None
    return request.settings.benchmark


def sizes_of(request: Request, benchmark: BenchmarkSettings) -> tuple[dict[str, int], ...]:
    """Return the sizes at which the runners are timed.

    They are every length at the first batch size, and every other batch size at the profile's opt length. If
    `benchmark.batches` is empty, the only batch size is the profile's minimum. With real inputs, the sizes are those of
    the inputs.
    """
    if request.given:
        return _unique([dict(batch.sizes) for batch in request.given])
    spec = request.subject.spec
    profiles = request.profiles
    if not spec.symbols or not profiles:
        return ({},)
    profile = profiles[0]
    axes = [symbol for symbol in spec.symbols if symbol != BATCH]
    points = benchmark.points or (() if benchmark.lengths else (Point.opt,))
    shapes = [{axis: getattr(profile[axis], point.value) for axis in axes} for point in points]
    shapes += [dict.fromkeys(axes, length) for length in benchmark.lengths]
    if BATCH not in spec.symbols:
        return _unique(shapes)
    batches = benchmark.batches or (profile[BATCH].min,)
    tuned = {axis: profile[axis].opt for axis in axes}
    cases = [{**shape, BATCH: batches[0]} for shape in shapes]
    return _unique([*cases, *({**tuned, BATCH: batch} for batch in batches[1:])])


def _unique(shapes: Sequence[dict[str, int]]) -> tuple[dict[str, int], ...]:
    return tuple({tuple(shape.items()): shape for shape in shapes}.values())


def _timed(
    runners: Sequence[TimedCall], request: Request, sizes: Sizes, benchmark: BenchmarkSettings, emit: Emit
) -> dict[str, Any]:
    """Time all runners at one size, and return the results, the refusals and the comparison of each pair."""
    subject = request.subject
    where = " ".join(f"{symbol}={size}" for symbol, size in sizes.items()) or "fixed sizes"
    calls: dict[str, Call] = {}
    alone: dict[str, dict[str, float | None]] = {}
    refused = []
    for one in runners:
        emit("progress", what=f"{one.name}, {where}")
        try:
            call = one.prepare(_inputs(request, sizes, one.dtypes))
            begun = SYSTEM_CLOCK.elapsed()
            call()  # it also allocates memory that later calls reuse, so the peak is measured on the second call
            first = SYSTEM_CLOCK.elapsed() - begun
            with PeakMemory() as peak:
                call()
        except CannotRun as error:
            refused.append({"name": one.name, "reason": str(error)})
            continue
        # The peak of host memory does not include GPU memory, so it is recorded for CPU runners only.
        peak_bytes = peak.peak_bytes if "cpu" in one.device.lower() else None
        alone[one.name] = {"first_seconds": first, "peak_bytes": peak_bytes}
        calls[one.name] = call

    def told(done: int) -> None:
        emit("progress", done=done, total=benchmark.max_rounds, what=f"rounds, {where}")

    rounds = measure_rounds(calls, _budget(benchmark, len(calls)), progress=told) if calls else None
    return {"sizes": dict(sizes), "refused": refused, **_figures(rounds, alone, subject, sizes, benchmark)}


def _budget(benchmark: BenchmarkSettings, runners: int) -> Budget:
    shared = {name: getattr(benchmark, name) for name in _OF_THE_BUDGET}
    # With fewer rounds, no comparison of a pair can reach the confidence.
    pairs = runners * (runners - 1) // 2
    fewest = max(benchmark.min_rounds, rounds_needed(family_confidence(benchmark.confidence, pairs)))
    return replace(Budget(**shared), min_rounds=min(fewest, benchmark.max_rounds))


_OF_THE_BUDGET = ("confidence", "half_width", "max_seconds", "warmup_seconds", "max_rounds")


def _inputs(request: Request, sizes: Sizes, dtypes: Mapping[str, str]) -> dict[str, Array]:
    spec = request.subject.spec
    inputs = tuple(replace(tensor, dtype=dtypes.get(tensor.name, tensor.dtype)) for tensor in spec.inputs)
    batch = next((one for one in request.given if dict(one.sizes) == dict(sizes)), None)
    if batch is not None:
        return read_batch(batch, replace(spec, inputs=inputs))
    return draw_inputs(replace(spec, inputs=inputs), Draw(sizes, guidance=spec.guidance))


def _figures(
    rounds: Rounds | None,
    alone: Mapping[str, Mapping[str, float | None]],
    subject: Subject,
    sizes: Sizes,
    benchmark: BenchmarkSettings,
) -> dict[str, Any]:
    if rounds is None:
        return {"rounds": 0, "seconds": 0.0, "settled": False, "results": [], "verdicts": [], "samples": {}}
    results = []
    for name, samples in rounds.samples.items():
        interval = median_interval(samples, benchmark.confidence)
        results.append(
            {
                "name": name,
                **asdict(interval),
                **alone[name],
                "calls_per_sample": rounds.calls[name],
                **_rates(interval.median, subject, sizes),
            }
        )
    return {
        "rounds": len(next(iter(rounds.samples.values()))),
        "seconds": rounds.seconds,
        "settled": rounds.settled,
        "results": results,
        "verdicts": list(_verdicts(rounds, benchmark)),
        "samples": {name: list(values) for name, values in rounds.samples.items()},
    }


def _rates(seconds: float, subject: Subject, sizes: Sizes) -> dict[str, float | None]:
    """Return the throughput and the real-time factor of the solver. Both are None if the model has no axis of frames.

    One call computes the velocity of batch x T frames. If the batch holds guidance pairs, two rows are one utterance.
    The real-time factor is the time of all solver steps divided by the duration of the audio; below 1, the solver is
    faster than real time.
    """
    frames = sizes.get(FRAMES)
    if frames is None:
        return {"frames_per_second": None, "real_time_factor": None}
    rows = subject.spec.inputs[0].resolve(sizes)[0]
    per_second, solver = subject.spec.frames_per_second, subject.solver
    factor = None
    if per_second is not None and solver is not None:
        utterances = rows / 2 if subject.spec.guidance else rows
        factor = solver.steps * seconds / (utterances * frames / per_second)
    return {"frames_per_second": rows * frames / seconds, "real_time_factor": factor}


def _verdicts(rounds: Rounds, benchmark: BenchmarkSettings) -> Iterator[dict[str, Any]]:
    pairs = list(combinations(rounds.samples, 2))
    confidence = family_confidence(benchmark.confidence, len(pairs))
    for reference, other in pairs:
        verdict = judge(
            rounds.samples[other], rounds.samples[reference], confidence=confidence, margin=benchmark.margin
        )
        yield {"name": other, "against": reference, "outcome": verdict.outcome.value, "ratio": asdict(verdict.ratio)}
