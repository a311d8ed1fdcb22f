"""The exported graph step by step: nodes, and ONNX Runtime's time on the CPU against a graph like upstream's.

    python benchmarks/graph_quality.py nodes [--opset 18 20 23] [--exporter torchscript]
    python benchmarks/graph_quality.py models [--opset 18 20 23]
    python benchmarks/graph_quality.py time [--lengths 256 1000] [--full] [--rounds 8] [--mid-blocks 2] [--only NAME]
    python benchmarks/graph_quality.py profile [--lengths 1000]
    python benchmarks/graph_quality.py engines [--precision fp32 fp16]

Full-size models with random weights. `nodes`: CosyVoice 2, every step. `models`: what a build writes, all three.
`time`: processor time of one thread, in interleaved rounds (another process on the machine then costs cache, not
time), medians and the ratio to the first with its interval; `--full` adds 3000 frames. `profile`: share of each
operator. `engines`: memory of a TensorRT-RTX engine for sm_89 of every step, up to 3000 frames. A smaller model
(`--mid-blocks 2`: 4 stages of 14) gives the same ratios sooner, since all stages are alike. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import onnxsim
from engines import build_engine, request_for, run_stage
from graph_variants import OPERATOR, STEPS, TRIED

from cosybuild.backends import onnxruntime_backend
from cosybuild.benchmarking.rounds import Budget, measure_rounds
from cosybuild.benchmarking.timing import judge, median
from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.digest import digest_of
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.cosyvoice.estimator.operators import one_attention_operator
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.onnxgraph.heads import split_columns
from cosybuild.onnxgraph.summary import count_ops
from cosybuild.stages.precision import LOWERED, PrecisionStage
from cosybuild.store.artifact import Artifact, StoredFile

CONFIDENCE, MARGIN = 0.95, 0.01


class ProcessorClock:
    """Counts the processor time of this process."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.process_time()


def subject_of(family: str, mid_blocks: int | None = None) -> Subject:
    changed = {} if mid_blocks is None else {"num_mid_blocks": mid_blocks}
    return resolve_subject(ModelSettings(family=Family(family), hyperparameters=changed), None, False)


def exported(name: str, subject: Subject, opset: int, exporter: str = "torchscript") -> onnx.ModelProto:
    """Return the graph of one step as the exporter wrote it."""
    make, holding = STEPS[name] if name in STEPS else TRIED[name][:2]
    with holding():
        settings = ExportSettings(opset=opset, exporter=Exporter(exporter))
        return export_graph(make(subject), subject.spec, settings, example_sizes(subject.spec, {}, ()))[0]


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    result, same = onnxsim.simplify(model)
    assert same
    return result


def variants(opset: int, subject: Subject, only: Sequence[str]) -> Iterator[tuple[str, int, onnx.ModelProto]]:
    """Yield name, exported nodes and simplified graph of every variant at this opset."""
    for name in (*STEPS, *(name for name, (_, _, lowest) in TRIED.items() if opset >= lowest)):
        if only and not any(word in name for word in only):
            continue
        model = exported(name, subject, opset)
        before = sum(count_ops(model).values())
        yield name, before, simplified(model)


def table(head: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)


def nodes(options: argparse.Namespace) -> Iterator[Sequence[object]]:
    subject = subject_of("cosyvoice2")
    for opset in options.opset:
        for name, before, model in variants(opset, subject, options.only):
            after = sum(count_ops(model).values())
            columns = ""
            if name.endswith("the product"):
                split_columns(model)
                columns = sum(count_ops(model).values())
            yield opset, name, f"{before:,}", f"{after:,}", columns and f"{columns:,}"


def models(options: argparse.Namespace) -> Iterator[Sequence[object]]:
    for family in ("cosyvoice1", "cosyvoice2", "cosyvoice3"):
        subject = subject_of(family)
        module = prepare_for_export(load_module(subject, None))
        for opset in options.opset:
            settings = ExportSettings(opset=opset, exporter=Exporter(options.exporter))
            ways = {"spelled": nullcontext}
            if opset >= TRIED[OPERATOR][2] and settings.exporter is Exporter.torchscript:
                ways["operator"] = one_attention_operator
            for attention, holding in ways.items():
                with holding():
                    model, _ = export_graph(module, subject.spec, settings, example_sizes(subject.spec, {}, ()))
                before = sum(count_ops(model).values())
                ops = count_ops(simplified(model))
                most = ", ".join(f"{count} {op}" for op, count in Counter(ops).most_common(6))
                yield family, options.exporter, opset, attention, f"{before:,}", f"{sum(ops.values()):,}", most


def times(options: argparse.Namespace) -> Iterator[Sequence[object]]:
    subject = subject_of("cosyvoice2", options.mid_blocks)
    with tempfile.TemporaryDirectory() as directory:
        sessions = {}
        for index, (name, _, model) in enumerate(variants(options.opset[0], subject, options.only)):
            path = Path(directory) / f"{index}.onnx"
            onnx.save(model, str(path))
            sessions[name] = onnxruntime_backend.load(path, threads=1)
        budget = Budget(
            confidence=CONFIDENCE, half_width=0.005, max_seconds=1e9, warmup_seconds=0.0,
            min_rounds=options.rounds, max_rounds=options.rounds,
        )  # fmt: skip
        for length in options.lengths + ([3000] if options.full else []):
            inputs = draw_inputs(subject.spec, Draw({"seq_len": length}, guidance=True))
            calls = {name: session.bound(inputs) for name, session in sessions.items()}
            samples = measure_rounds(calls, budget, ProcessorClock()).samples
            first = next(iter(samples))
            for name, values in samples.items():
                verdict = judge(values, samples[first], confidence=CONFIDENCE, margin=MARGIN)
                ratio = verdict.ratio
                interval = f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
                yield length, name, f"{median(values):.3f} s", interval, verdict.outcome.value if name != first else ""


def profile(options: argparse.Namespace) -> Iterator[Sequence[object]]:
    subject = subject_of("cosyvoice2", options.mid_blocks)
    for name, _, model in variants(options.opset[0], subject, options.only):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "graph.onnx"
            onnx.save(model, str(path))
            for length in options.lengths:
                spent = operator_times(path, subject, length)
                whole = sum(spent.values())
                shares = ", ".join(f"{op} {time / whole:.1%}" for op, time in spent.most_common(10))
                yield length, name, shares


def engines(options: argparse.Namespace) -> Iterator[Sequence[object]]:
    subject = subject_of("cosyvoice2", options.mid_blocks)
    with tempfile.TemporaryDirectory() as directory:
        for index, (name, _, model) in enumerate(variants(options.opset[0], subject, options.only)):
            path = Path(directory) / f"{index}.onnx"
            onnx.save(model, str(path))
            graph = Artifact("graph", (StoredFile(path.name, path, digest_of(path), path.stat().st_size),))
            for precision in options.precision:
                request = request_for("cosyvoice2", precision, "full", "static", longest=3000)
                inputs, place = {"graph": graph}, Path(directory) / f"{index}-{precision}"
                if request.settings.precision.target in LOWERED:
                    run_stage(PrecisionStage(), request, inputs, place)
                facts = build_engine(request, inputs.get("lowered", graph), 89, place.with_suffix(".engine"))
                memory = facts.get("activation_bytes", {}).get("value", [])
                said = ", ".join(dict.fromkeys(each["verdict"] for each in facts.get("attention", ())))
                megabytes = " / ".join(f"{each / 1e6:.1f}" for each in memory)
                yield name, precision, megabytes, said or facts.get("error", "").replace("\n", " ")


def operator_times(path: Path, subject: Subject, length: int) -> Counter[str]:
    """Return operator -> microseconds in its kernels, in three runs."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.enable_profiling = True
    settings.profile_file_prefix = str(path)
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    inputs = draw_inputs(subject.spec, Draw({"seq_len": length}, guidance=True))
    for _ in range(3):
        session.run(None, inputs)
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return spent


WORK = {
    "nodes": (("opset", "step", "exported", "simplified", "as TensorRT reads it"), nodes),
    "models": (("model", "exporter", "opset", "attention", "exported", "simplified", "mostly"), models),
    "time": (("frames", "step", "median", "of the first's time", ""), times),
    "profile": (("frames", "step", "share of the time in kernels"), profile),
    "engines": (("step", "precision", "activations, MB", "attention"), engines),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORK)
    parser.add_argument("--opset", type=int, nargs="+", default=[18])
    parser.add_argument("--exporter", choices=[exporter.value for exporter in Exporter], default="torchscript")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1000])
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--mid-blocks", type=int, help="for time and profile: stages in the middle, 12 if not given")
    parser.add_argument("--full", action="store_true", help="also 3000 frames")
    parser.add_argument("--only", nargs="+", default=[], help="steps whose name has one of these words")
    options = parser.parse_args()
    head, work = WORK[options.work]
    table(head, partial(work, options)())


if __name__ == "__main__":
    main()
