"""Compare a repeated build with `python -c "import hydra"`: whole processes in turns.

    python benchmarks/noop.py [rounds] [--checkpoint BYTES]

Builds the tiny CosyVoice 2 once, with other models' tensors added to its checkpoint up to BYTES (1.3 GB as the
published ones have). Then each round runs, in random order, the same command again, the same without its certificate
(with Hydra, planning and the store), other forms of the command (a run directory of the user, `--config-dir`, a
deployment, sweeps of two and of six cells), and the import of Hydra. Prints medians of the wall-clock and of the
processor seconds, and the medians of the ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = Path(__file__).resolve().parents[1] / "tests" / "data" / "cosyvoice2_tiny"
WORDS = ("trt=none", "verify=upstream", "trt_profile.profiles=[{seq_len: {min: 4, opt: 16, max: 40}}]")
HYDRA = [sys.executable, "-c", "import hydra"]
FORMS = {
    "hydra.run.dir": ("hydra.run.dir=elsewhere",),
    "--config-dir": ("--config-dir", "team", "hydra.run.dir=configured"),
    "deployment": ("hydra.run.dir=deployed", "deploy=bundle", "deploy.dir=service", "deploy.create=true"),
    "sweep of 2 cells": ("-m", "verify.seed=1,2"),
    "sweep of 6 cells": ("-m", "verify.seed=1,2,3,4,5,6"),
}
"""Words that are added to the command: other ways to ask for a build. Each form has a run directory of its own, because
Hydra writes into the run directory, which voids the certificates of other commands with the same directory."""


def make_model(directory: Path, size: int) -> Path:
    """Make the tiny model directory with a checkpoint of `size` bytes."""
    import torch

    shutil.copytree(TINY, directory)
    weights = directory / "flow.pt"
    if size:
        state = torch.load(weights, weights_only=True)
        state["llm.x"] = torch.ones(size // 4)
        torch.save(state, weights)
    return weights


def timed(command: list[str], place: Path) -> tuple[float, float]:
    """Return the wall-clock and processor seconds of a process that must succeed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert process.returncode == 0, output
    if "-m" in command[3:]:
        assert "  ok  " not in output.partition("\n\n")[0], output
    elif command != HYDRA:
        assert output.startswith("Nothing to do"), output
    return wall, usage.ru_utime + usage.ru_stime


def run(rounds: int, size: int) -> dict[str, object]:
    """Measure all commands in random order; return medians and ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        # Certificates list the working directory, so nothing else is put into it.
        place, aside = Path(temporary).resolve() / "place", Path(temporary).resolve() / "aside"
        place.mkdir()
        weights = make_model(place / "model", size)
        command = [sys.executable, "-m", "cosybuild", "model_dir=model", *WORDS]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        (place / "team").mkdir()
        forms = {name: [*command, *words] for name, words in FORMS.items()}
        for form in forms.values():
            for _ in range(2):  # directories that the first one makes prevent its certificate
                subprocess.run(form, cwd=place, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        certificates = place / "outputs" / ".certificates"
        assert list(certificates.glob("*.json")), "the first run wrote no certificate"
        commands = {"no-op": command, "ordinary way": command, **forms, "import hydra": HYDRA}
        seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in commands}
        for number in range(rounds):
            for kind in random.sample(list(commands), len(commands)):
                if kind == "ordinary way":
                    shutil.move(certificates, aside)
                seconds[kind].append(timed(commands[kind], place))
                if kind == "ordinary way":  # it wrote its own certificate again
                    shutil.copytree(certificates, aside, dirs_exist_ok=True)
                    shutil.rmtree(certificates)
                    shutil.move(aside, certificates)
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        bytes_of_weights = weights.stat().st_size
    facts: dict[str, object] = {"rounds": rounds, "checkpoint_bytes": bytes_of_weights}
    for index, clock in enumerate(("wall", "processor")):
        times = {kind: [pair[index] for pair in pairs] for kind, pairs in seconds.items()}
        facts[f"{clock}_seconds"] = {kind: round(statistics.median(values), 4) for kind, values in times.items()}
        facts[f"{clock}_ratio_to_import_hydra"] = {
            kind: round(statistics.median(a / b for a, b in zip(values, times["import hydra"], strict=True)), 3)
            for kind, values in times.items()
        }
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=25)
    parser.add_argument("--checkpoint", type=float, default=1.3e9, metavar="BYTES")
    options = parser.parse_args()
    print(json.dumps(run(options.rounds, int(options.checkpoint)), indent=1))
