"""Measure the time to the first report with the README's command: clone, environment, installation, build.

    python benchmarks/first_artifact.py

Clones this checkout into a temporary directory, runs the README's first command there, and measures each of its parts
in wall-clock time. The time of the installation depends on the network and pip's cache. Prints a Markdown table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("environment", "", "installation", "build: export, reference, simplify, verify, engine")
"""Names of the command's parts; the activation of the environment is too short for a row."""


def readme_parts() -> list[str]:
    """Return the parts of the command marked `run`, split at `&&`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^(.*\S) +# run$", text, re.MULTILINE)
    return [part.strip() for part in command.split("&&")]


def timed(script: str, directory: Path) -> float:
    """Return the wall-clock seconds; a failure ends the benchmark with the output of the command."""
    # As in a new shell: without the environment that runs this script.
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    path = environment.get("PATH", "").split(os.pathsep)
    environment["PATH"] = os.pathsep.join(part for part in path if part != str(Path(sys.prefix) / "bin"))
    begun = time.perf_counter()
    done = subprocess.run(
        ["bash", "-ec", script], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begun


def main() -> None:
    parts = readme_parts()
    assert len(parts) == len(NAMES), f"the README's command has other parts than {NAMES}: {parts}"
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "cosybuild"
        rows = [("clone", timed(f"git clone --quiet '{ROOT}' cosybuild", Path(scratch)))]
        environment, activate, *rest = parts
        rows.append((NAMES[0], timed(environment, place)))
        rows += [(name, timed(f"{activate}; {part}", place)) for name, part in zip(NAMES[2:], rest, strict=True)]
        (report,) = place.glob("outputs/runs/*/report.md")
        first_line = report.read_text(encoding="utf-8").partition("\n")[0]
        assert first_line.endswith(": ok"), first_line
    print("| | s |\n| --- | --- |")
    for name, seconds in [*rows, ("**all**", sum(seconds for _, seconds in rows))]:
        print(f"| {name} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
