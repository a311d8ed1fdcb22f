"""Peak memory of a whole default run against the weights and torch itself.

    python benchmarks/peak_memory.py [override ...]

Runs `python -m cosybuild` with an empty store in a process of its own and prints each step's growth, the
process's peak, and the bound: four times the weights, plus what `import torch` takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def peak_of(command: list[str], directory: Path) -> int:
    """Largest resident set of a command, in bytes."""
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024


def main() -> None:
    overrides = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        torch = peak_of([sys.executable, "-c", "import torch"], directory)
        run = peak_of([sys.executable, "-m", "cosybuild", *overrides], directory)
        (path,) = directory.glob("outputs/runs/*/report.json")
        report = json.loads(path.read_text(encoding="utf-8"))
    weights = next(a["size"] for a in report["artifacts"] if a["slot"] == "graph")
    print("| step | seconds | growth of memory, MB |\n|---|---|---|")
    for step in report["steps"]:
        print(f"| {step['label']} | {step['seconds']:.1f} | {(step['peak_bytes'] or 0) / 1e6:.0f} |")
    bound = 4 * weights + torch
    print(f"\nweights {weights / 1e6:.0f} MB, import torch {torch / 1e6:.0f} MB, bound {bound / 1e6:.0f} MB")
    print(
        f"whole run {run / 1e6:.0f} MB = {(run - torch) / weights:.2f} times the weights + torch: "
        f"{'within' if run <= bound else 'OVER'} the bound"
    )


if __name__ == "__main__":
    main()
