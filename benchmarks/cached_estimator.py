"""The time of one chunk in ONNX Runtime after some seconds of speech: with caches, and with the whole prefix.

    python benchmarks/cached_estimator.py [--seconds 10 30 60] [--rounds 3] [--threads 2] [--families cosyvoice2 ...]
                                          [MODEL_DIRECTORY ...]

Without a directory the published versions 2 and 3 are measured, with random weights. Both estimators have the same
weights and are exported by torch's TorchScript exporter. For each length, the cached estimator first computes all
frames before the chunk in one call, which leaves the true caches. Then both compute the chunk in turns: the uncached
estimator from all frames, the cached one from the chunk and the caches. Each row is also written to the standard error
when it is there. `ratio` is the median of cached by uncached time over the rounds. The velocities of the chunk must
agree, else the script fails: `error` is the largest difference of an element by the root mean square. `cache_mb` is
the memory of one stream for all steps of the solver, in float32.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.models.cosyvoice.caching import HISTORY
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.shape_profile import FRAMES
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Array, Draw, draw_inputs
from cosybuild.runtime.voice.caches import cache_form

MOST_ERROR = 1e-3
"""The largest difference of an element by the output's rms that rounding explains: twice the largest measured error
of one computation against float64 (8.8e-5), with a factor of 5 for other weights."""


def subjects(directories: Sequence[Path], families: Sequence[Family]) -> Iterator[tuple[str, Subject, Subject]]:
    """Yield a name, the uncached subject and the cached one."""
    chosen = [(d.name, Family.auto, str(d)) for d in directories] or [(f.value, f, None) for f in families]
    for name, family, directory in chosen:
        forms = (ModelSettings(family, streaming=True, cache=cached) for cached in (False, True))
        uncached, cached = (resolve_subject(form, directory, False) for form in forms)
        yield name, uncached, cached


def exported(subject: Subject, path: Path) -> Path:
    from cosybuild.exporting.torch_exporters import example_sizes, export_graph
    from cosybuild.models.load import load_module, prepare_for_export
    from cosybuild.onnxgraph.files import save_model

    module = prepare_for_export(load_module(subject, subject.weights))
    path.parent.mkdir()
    model, _ = export_graph(module, subject.spec, ExportSettings(), example_sizes(subject.spec, {}, ()))
    return save_model(model, path)[0]


class Graph:
    """An exported estimator in ONNX Runtime."""

    def __init__(self, subject: Subject, path: Path, threads: int) -> None:
        import onnxruntime

        exported(subject, path)
        gc.collect()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: dict[str, Array]) -> list[Array]:
        found: list[Array] = self.session.run(None, inputs)
        return found


def timed(graph: Graph, inputs: dict[str, Array]) -> float:
    begin = time.perf_counter()
    graph(inputs)
    return time.perf_counter() - begin


def measured(uncached: Subject, cached: Subject, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    chunk = int(uncached.hyperparameters["static_chunk_size"])
    rate = uncached.spec.frames_per_second
    assert rate is not None
    assert cached.solver is not None
    form = cache_form({tensor.name: (tensor.shape, tensor.dtype) for tensor in cached.spec.inputs}, None)
    with tempfile.TemporaryDirectory() as place:
        whole = Graph(uncached, Path(place, "uncached", "graph.onnx"), options.threads)
        steps = Graph(cached, Path(place, "cached", "graph.onnx"), options.threads)
        for seconds in options.seconds:
            history = round(seconds * rate / chunk) * chunk
            prefix = draw_inputs(uncached.spec, Draw({FRAMES: history + chunk}, guidance=True))
            given, last = _parts(prefix, history)
            if form.has_offset:
                given["x_offset"], last["x_offset"] = np.array([0]), np.array([history])
            given["conv_cache"] = np.zeros(form.contexts, np.float32)
            given["att_cache"] = np.zeros((0, *form.frame), np.float32)
            _, last["conv_cache"], last["att_cache"] = steps(given)
            expected, found = whole(prefix)[0][..., history:], steps(last)[0]
            error = float(np.abs(found - expected).max() / np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
            if not error <= MOST_ERROR:
                raise SystemExit(f"after {seconds} s the chunk differs by {error:.2g} of the rms")
            times = {"uncached": [timed(whole, prefix)], "cached": [timed(steps, last)]}
            for _ in range(options.rounds - 1):
                times["cached"].append(timed(steps, last))
                times["uncached"].append(timed(whole, prefix))
            pairs = zip(times["cached"], times["uncached"], strict=True)
            yield {
                "seconds": seconds,
                HISTORY: history,
                **{f"{name}_s": round(statistics.median(values), 4) for name, values in times.items()},
                "ratio": round(statistics.median(one / other for one, other in pairs), 4),
                "error": error,
                "cache_mb": round(form.bytes_of(history, cached.solver.steps) / 1e6, 1),
            }


def _parts(prefix: dict[str, Array], history: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs of the frames before the chunk, and of the chunk."""
    frames = {name for name, values in prefix.items() if values.ndim == 3}
    before = {n: np.ascontiguousarray(v[..., :history]) if n in frames else v for n, v in prefix.items()}
    return before, {n: np.ascontiguousarray(v[..., history:]) if n in frames else v for n, v in prefix.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    parser.add_argument("--families", nargs="+", default=[Family.cosyvoice2.value, Family.cosyvoice3.value])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, *pair in subjects(options.directories, [Family(family) for family in options.families]):
        for row in measured(*pair, options):
            found.setdefault(name, []).append(row)
            print(name, json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
