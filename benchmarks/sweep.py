"""What a sweep of 2 opsets x 2 precisions x 3 profiles costs, and how often each stage really ran.

    python benchmarks/sweep.py [--model-dir DIR] [--scaled] [--jobs 2] [--only sequential|joblib]

Three measurements in fresh directories with fresh stores: the cells one after another in one command, the same through
joblib with `--jobs` workers, and, as what both are compared with, the sum of the distinct stages' own seconds. Without
--model-dir and --scaled it is CosyVoice 2 in full size with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

SWEPT = ("export=opset17,opset18", "trt=fp32,fp16", "trt_profile=default,streaming,long")
SCALED = "model.hyperparameters={channels:[64],num_mid_blocks:2,n_blocks:1,num_heads:2,attention_head_dim:32}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir")
    parser.add_argument("--scaled", action="store_true", help="a small U-Net of the same structure")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=["sequential", "joblib"])
    parser.add_argument("words", nargs="*", help="further overrides")
    options = parser.parse_args()
    words = [*SWEPT, *options.words]
    if options.model_dir:
        words.append(f"model_dir={Path(options.model_dir).resolve()}")
    elif options.scaled:
        words += ["model=cosyvoice2", SCALED]
    launchers = {"sequential": [], "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={options.jobs}"]}
    for name, launcher in launchers.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="cosybuild-sweep-") as directory:
                tell(name, *measure(Path(directory), [*words, *launcher]))


def measure(directory: Path, words: list[str]) -> tuple[float, int, dict[str, Any], list[dict[str, Any]]]:
    """Wall seconds, exit code, sweep.json and the reports of a sweep in `directory`."""
    began = time.monotonic()
    command = [sys.executable, "-m", "cosybuild", "-m", *words]
    done = subprocess.run(command, cwd=directory, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    seconds = time.monotonic() - began
    (sweep,) = directory.glob("outputs/sweeps/*/sweep.json")
    reports = [json.loads(path.read_text()) for path in directory.glob("outputs/runs/*/report.json")]
    return seconds, done.returncode, json.loads(sweep.read_text()), reports


def tell(name: str, seconds: float, code: int, sweep: dict[str, Any], reports: list[dict[str, Any]]) -> None:
    """Print how often each stage ran and how the wall time compares with the distinct stages' sum."""
    stage = {step["label"]: step["stage"] for report in reports for step in report["steps"]}
    ran: Counter[str] = Counter()
    for cell in sweep["cells"]:
        ran.update(stage[label] for label, action in cell["actions"].items() if action == "built")
    spent: dict[str, float] = {}  # key -> seconds of the one build
    for report in reports:
        for step in report["steps"]:
            if step["key"] is not None and step["made"]:
                spent[step["key"]["digest"]] = step["made"]["seconds"]
    total = sum(spent.values())
    print(f"\n{name}: exit code {code}, {len(sweep['cells'])} cells, statuses "
          f"{dict(Counter(cell['status'] for cell in sweep['cells']))}")  # fmt: skip
    print("  built: " + ", ".join(f"{what} {count}" for what, count in ran.items()))
    print(f"  wall {seconds:.1f} s; {len(spent)} distinct stages take {total:.1f} s; ratio {seconds / total:.3f}")


if __name__ == "__main__":
    main()
