"""Nodes, build time, and real-time factor on one core of the exported vocoders in ONNX Runtime.

    python benchmarks/vocoder.py [--seconds 5] [--rounds 3] [--wide-f0] [MODEL_DIRECTORY ...]

Without a directory the published versions are measured, with random weights. For a directory the widths and weights
are its own. Each graph is exported by torch's TorchScript exporter, simplified, loaded by ONNX Runtime with one thread,
and run on a random mel of the stated length; the real-time factor is the median time of a run by the time it sounds.
A stream is measured too: windows of one second with the frames around it that exactness needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosybuild.models.cosyvoice.vocoder.context import context_frames
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.models.cosyvoice.vocoder.parameters import PUBLISHED, VocoderParameters
from cosybuild.models.directory.vocoder import read_vocoder
from cosybuild.numerics.inputs import Draw, draw_inputs

OPSET = 18


def subjects(directories: list[Path]) -> Iterator[tuple[str, VocoderParameters, Path | None]]:
    for family, parameters in PUBLISHED.items() if not directories else ():
        yield family.value, parameters, None
    for directory in directories:
        found = read_vocoder(directory)
        yield directory.name, found.parameters, found.weights


def measured(parameters: VocoderParameters, weights: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    import onnxruntime
    import onnxsim

    from cosybuild.config.groups.export import ExportSettings
    from cosybuild.exporting.torch_exporters import example_sizes, export_graph
    from cosybuild.models.cosyvoice.vocoder.load import exportable, load_vocoder

    begin = time.perf_counter()
    module = exportable(load_vocoder(parameters, weights), wide_f0=options.wide_f0)
    loaded = time.perf_counter()
    spec = vocoder_spec(parameters)
    model, _ = export_graph(module, spec, ExportSettings(opset=OPSET), example_sizes(spec, {}, ()))
    exported = time.perf_counter()
    simplified, _ = onnxsim.simplify(model)
    done = time.perf_counter()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        simplified.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    left, right = context_frames(parameters)
    second = round(parameters.frames_per_second)
    whole, window = round(options.seconds * parameters.frames_per_second), left + second + right
    seconds = {"whole": options.seconds, "stream": 1.0}
    result: dict[str, Any] = {
        "context": [left, right],
        "nodes": len(model.graph.node),
        "simplified_nodes": len(simplified.graph.node),
        "bytes": simplified.ByteSize(),
        "load_s": round(loaded - begin, 2),
        "export_s": round(exported - loaded, 2),
        "simplify_s": round(done - exported, 2),
    }
    for name, frames in (("whole", whole), ("stream", window)):
        inputs = draw_inputs(vocoder_spec(parameters), Draw({"seq_len": frames, "noise_len": 24000}))
        session.run(None, inputs)
        times = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            session.run(None, inputs)
            times.append(time.perf_counter() - start)
        result[f"{name}_real_time_factor"] = round(statistics.median(times) / seconds[name], 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wide-f0", action="store_true", help="compute f0 in float64")
    options = parser.parse_args()
    for name, parameters, weights in subjects(options.directories):
        print(json.dumps({"vocoder": name, **measured(parameters, weights, options)}), flush=True)


if __name__ == "__main__":
    main()
