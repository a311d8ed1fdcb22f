"""Compare the peak memory of a default run with the size of the weights and of torch.

    python benchmarks/peak_memory.py [override ...]

Runs `python -m cosybuild` with an empty store in a separate process, reads the memory of that process and its children
from outside, and compares the peak with the bound: four times the weights, plus the memory of `import torch`. Linux
only.

The peak that the system reports of an ended process is of no use: each step resets the peak
(`system/memory.py`), so that peak would be the last step's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_INTERVAL = 0.01


@dataclass
class Watch(threading.Thread):
    """Reads the memory of a process and its children until `done` is set.

    Attributes:
        pid: the id of the process.
        peak: the largest sum of their memory until now, in bytes.
        resident: (seconds since the epoch, bytes) of each reading.
    """

    pid: int
    peak: int = 0
    resident: list[tuple[float, int]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.done.wait(_INTERVAL):
            beside = sum(memory(child, "VmRSS") for child in descendants(self.pid))
            self.resident.append((time.time(), memory(self.pid, "VmRSS") + beside))
            self.peak = max(self.peak, memory(self.pid, "VmHWM") + beside)

    def before(self, moment: float) -> int:
        """Return the bytes of the last reading before that moment."""
        return next((size for at, size in reversed(self.resident) if at < moment), 0)


def memory(pid: int, name: str) -> int:
    """Return a size in a process's status, in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def descendants(pid: int) -> Iterator[int]:
    """Return the children of a process, and their children."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = listed.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from descendants(child)


def watched(command: list[str], directory: Path) -> Watch:
    """Run a command to its end, and return the readings."""
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    code = process.wait()
    watch.done.set()
    watch.join()
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return watch


def main() -> None:
    overrides = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        # `Watch` reads the memory a hundred times a second, so it needs this sleep.
        torch = watched([sys.executable, "-c", "import torch, time; time.sleep(0.1)"], directory).peak
        run = watched([sys.executable, "-m", "cosybuild", *overrides], directory)
        (path,) = directory.glob("outputs/runs/*/report.json")
        report = json.loads(path.read_text(encoding="utf-8"))
    weights: int = next(a["size"] for a in report["artifacts"] if a["slot"] == "graph")

    def ratio(peak: int) -> float:
        return (peak - torch) / weights

    print("| step | seconds | at its start, MB | growth, MB | peak, MB | less torch, of the weights |")
    print("|---|---|---|---|---|---|")
    peaks: dict[str, int] = {}
    for step in _built(report):
        start = run.before(step["started"])
        peaks[step["label"]] = start + step["peak_bytes"]
        figures = (start / 1e6, step["peak_bytes"] / 1e6, peaks[step["label"]] / 1e6)
        shown = " | ".join(f"{value:.0f}" for value in figures)
        print(f"| {step['label']} | {step['seconds']:.1f} | {shown} | {ratio(peaks[step['label']]):.2f} |")
    bound = 4 * weights + torch
    print(f"\nweights {weights / 1e6:.0f} MB, import torch {torch / 1e6:.0f} MB, bound {bound / 1e6:.0f} MB")
    over = ", ".join(label for label, peak in peaks.items() if peak > bound) or "none"
    print(
        f"whole run {run.peak / 1e6:.0f} MB = {ratio(run.peak):.2f} times the weights + torch; over the bound: {over}"
    )


def _built(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in report["steps"] if step["peak_bytes"] is not None]


if __name__ == "__main__":
    main()
