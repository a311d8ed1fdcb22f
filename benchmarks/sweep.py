"""Measure a sweep of 2 opsets x 2 precisions x 3 profiles, and count the runs of each stage.

    python benchmarks/sweep.py [--model-dir DIR] [--scaled] [--jobs 2] [--only sequential|joblib --stages SECONDS]

Sweeps twice, each time in a new directory with a new store: the cells one after another in one command, and through
joblib with `--jobs` workers. Both are compared with the sum of the times of the distinct stages in the first, where
they ran one after another: in the second they share the machine, and each takes longer. Without --model-dir and
--scaled it is CosyVoice 2 in full size with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SWEPT = ("export=opset17,opset18", "trt=fp32,fp16", "trt_profile=default,streaming,long")
SCALED = "model.hyperparameters={channels:[64],num_mid_blocks:2,n_blocks:1,num_heads:2,attention_head_dim:32}"


@dataclass(frozen=True)
class Measured:
    """One sweep.

    Attributes:
        wall, cpu: seconds of the command; the processor seconds are those of all its processes.
        load: the load of the machine before the sweep and at its end; more than the number of cores means other
            programs.
        code: the exit code.
        built: stage -> the number of its runs.
        stages: stage -> seconds of its distinct results.
        statuses: status -> the number of its cells.
    """

    wall: float
    cpu: float
    load: tuple[float, float]
    code: int
    built: Counter[str]
    stages: dict[str, float]
    statuses: Counter[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir")
    parser.add_argument("--scaled", action="store_true", help="a small U-Net of the same structure")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=["sequential", "joblib"])
    parser.add_argument("--stages", type=float, help="what joblib alone is compared with: an earlier sum, in seconds")
    parser.add_argument("words", nargs="*", help="further overrides")
    options = parser.parse_args()
    words = [*SWEPT, *options.words]
    if options.model_dir:
        words.append(f"model_dir={Path(options.model_dir).resolve()}")
    elif options.scaled:
        words += ["model=cosyvoice2", SCALED]
    total = options.stages
    launchers = {"sequential": [], "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={options.jobs}"]}
    for name, launcher in launchers.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="cosybuild-sweep-") as directory:
                measured = measure(Path(directory), [*words, *launcher])
            if name == "sequential":
                total = sum(measured.stages.values())
            tell(name, measured, total)


def measure(directory: Path, words: list[str]) -> Measured:
    """Run a sweep in `directory`."""
    before, load = _cpu(), os.getloadavg()[0]
    began = time.monotonic()
    command = [sys.executable, "-m", "cosybuild", "-m", *words]
    done = subprocess.run(command, cwd=directory, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    wall, cpu, loads = time.monotonic() - began, _cpu() - before, (load, os.getloadavg()[0])
    (path,) = directory.glob("outputs/sweeps/*/sweep.json")
    sweep: dict[str, Any] = json.loads(path.read_text())
    reports = [json.loads(path.read_text()) for path in directory.glob("outputs/runs/*/report.json")]
    stage = {step["label"]: step["stage"] for report in reports for step in report["steps"]}
    built: Counter[str] = Counter()
    for cell in sweep["cells"]:
        built.update(stage[label] for label, action in cell["actions"].items() if action == "built")
    spent = {
        step["key"]["digest"]: (step["stage"], step["made"]["seconds"])
        for report in reports
        for step in report["steps"]
        if step["key"] is not None and step["made"]
    }
    stages: dict[str, float] = defaultdict(float)
    for name, seconds in spent.values():
        stages[name] += seconds
    return Measured(wall, cpu, loads, done.returncode, built, stages, Counter(c["status"] for c in sweep["cells"]))


def _cpu() -> float:
    """Return the processor seconds of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(name: str, measured: Measured, total: float | None) -> None:
    """Print one sweep, and the sum of the distinct stages run one after another."""
    print(f"\n{name}: exit code {measured.code}, cells {dict(measured.statuses)}")
    print("  " + ", ".join(f"{stage} x {n} {measured.stages[stage]:.1f} s" for stage, n in measured.built.items()))
    compared = "" if total is None else f", {measured.wall / total:.3f} of the {total:.1f} s of distinct stages"
    print(f"  wall {measured.wall:.1f} s{compared}; processor {measured.cpu:.1f} s")
    print(f"  load average before {measured.load[0]:.1f}, at the end {measured.load[1]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
