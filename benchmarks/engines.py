"""Engines of the CosyVoice estimators, full size: build time, size, memory, arithmetic, attention.

    python benchmarks/engines.py [--family cosyvoice2 ...] [--precision fp32 fp16 bf16] [--mask full streaming]
                                 [--batch static dynamic] [--sm 89] [--max 3000] [--attention spelled|operator]

Each graph is exported and simplified once, and lowered as in a build. "host MB" is the memory of the process that
builds the engine. Engines are built ahead of time for the compute capability, without a GPU;
other programs on the machine increase the seconds. Prints each row of a Markdown table when it is known; `--json FILE`
keeps all facts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.library import RTX
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.export import Attention, ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.precision import Target as Precision
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.settings import Settings
from cosybuild.digest import digest_of
from cosybuild.errors import CosybuildError
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from cosybuild.stages.engine import EngineStage
from cosybuild.stages.export import ExportStage
from cosybuild.stages.precision import LOWERED, PrecisionStage
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.result import StageResult

COLUMNS = ("model", "mask", "batch", "precision", "build s", "engine MB", "activations MB", "weights MB",
           "host MB", "fp32 work", "attention")  # fmt: skip


def request_for(
    family: str, precision: str, mask: str, batch: str, longest: int, attention: Attention = Attention.spelled
) -> Request:
    """Return the request of one build, as a command would make it."""
    ranges = {"seq_len": RangeSettings(4, 500, longest), "batch": RangeSettings(2, 4, 32)}
    dynamic = batch == "dynamic"
    settings = Settings(
        model=ModelSettings(family=Family(family), streaming=mask == "streaming"),
        export=ExportSettings(
            opset=23 if attention is Attention.operator else 18, attention=attention, dynamic_batch=dynamic
        ),
        simplify=SimplifySettings(check_runs=0),
        precision=PrecisionSettings(target=Precision(precision)),
        trt_profile=ProfileSettings(profiles=({k: r for k, r in ranges.items() if dynamic or k != "batch"},)),
        # Unfused scores of 32 rows at 3000 frames need more than the default in float32.
        trt=TrtSettings(workspace_gib=64.0 if dynamic else 4.0),
    )
    return Request(settings, resolve_subject(settings.model, None, dynamic))


def run_stage(stage: Stage[Any], request: Request, inputs: dict[str, Artifact], workdir: Path) -> StageResult:
    """Run one step alone, and add its outputs to `inputs`."""
    workdir.mkdir()
    result = stage.run(RunContext(request, inputs, workdir, lambda kind, **facts: None))
    for slot, files in result.outputs.items():
        stored = tuple(StoredFile(f.name, f, digest_of(f), f.stat().st_size) for f in files)
        inputs[slot] = Artifact(slot, stored)
    return result


def build_engine(request: Request, graph: Artifact, sm: int, workdir: Path) -> dict[str, Any]:
    """Run the engine step on a finished graph; return its figures or its error."""
    try:
        result = run_stage(EngineStage(Target(RTX, sm)), request, {"lowered": graph}, workdir)
    except CosybuildError as error:
        return {"error": str(error)}
    return {**result.metrics, "host_bytes": result.subprocess_bytes}


def measured(arguments: argparse.Namespace, scratch: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield ((family, mask, batch, precision), facts) of every engine."""
    variants = itertools.product(arguments.family, arguments.mask, arguments.batch)
    for family, mask, batch in variants:
        if family == "cosyvoice1" and mask == "streaming":
            continue
        place = scratch / f"{family}-{mask}-{batch}"
        place.mkdir()
        made: dict[str, Artifact] = {}
        request = request_for(family, "fp32", mask, batch, arguments.max, arguments.attention)
        run_stage(ExportStage(), request, made, place / "export")
        run_stage(SimplifyStage(), request, made, place / "simplify")
        for precision in arguments.precision:
            request = request_for(family, precision, mask, batch, arguments.max, arguments.attention)
            inputs = dict(made)
            if request.settings.precision.target in LOWERED:
                run_stage(PrecisionStage(), request, inputs, place / f"lower-{precision}")
            graph = inputs.get("lowered", inputs["graph"])
            facts = build_engine(request, graph, arguments.sm, place / f"engine-{precision}")
            yield (family, mask, batch, precision), facts


def row(variant: tuple[str, ...], facts: dict[str, Any]) -> str:
    """Return one line of the table."""
    if "error" in facts:
        return "| " + " | ".join((*variant, facts["error"].replace("\n", " "))) + " |"
    verdicts = dict.fromkeys(each["verdict"] for each in facts["attention"])
    cells = (
        *variant,
        f"{facts['build_seconds']:.0f}",
        f"{facts['size_bytes']['value'] / 1e6:.0f}",
        " / ".join(f"{each / 1e6:.1f}" for each in facts["activation_bytes"]["value"]),
        f"{facts['weights_bytes']['value'] / 1e6:.0f}",
        f"{facts['host_bytes'] / 1e6:.0f}",
        f"{facts['arithmetic']['share'].get('FLOAT', 0):.1%}",
        ", ".join(verdicts),
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--family", nargs="+", default=["cosyvoice1", "cosyvoice2", "cosyvoice3"])
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16", "bf16"])
    parser.add_argument("--mask", nargs="+", default=["full", "streaming"])
    parser.add_argument("--batch", nargs="+", default=["static", "dynamic"])
    parser.add_argument("--sm", type=int, default=89)
    parser.add_argument("--max", type=int, default=3000, help="frames")
    parser.add_argument("--attention", type=Attention, default=Attention.spelled, help="operator: at opset 23")
    parser.add_argument("--json", type=Path, help="where all facts go")
    arguments = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    kept = []
    with tempfile.TemporaryDirectory() as scratch:
        for variant, facts in measured(arguments, Path(scratch)):
            kept.append({"variant": variant, **facts})
            print(row(variant, facts), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
