"""A short round of each benchmark of the build: the claims of full runs must hold in a few rounds too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models.fixtures import DATA
from tests.runtime.voice.services import new_service

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the benchmarks fork and kill")


def run(script: str, *words: str) -> dict[str, Any]:
    """Return the output of the script, which fails if a claim does not hold."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=590, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_random_kills_leave_no_damage() -> None:
    counts = run("kills.py", "1", "1")
    assert counts["rounds"] == sum(number for name, number in counts.items() if name.startswith("killed: ")) == 1
    # A kill after the last step leaves the next run nothing to build.
    assert sum(number for name, number in counts.items() if name.startswith("next run: ")) > 0


@pytest.mark.parametrize("subject", ["estimator", "voice", "triton"])
def test_a_directory_serves_the_newest_complete_deployment(subject: str) -> None:
    counts = run("deploy_soak.py", "6", "1", subject)
    assert counts["deployments"] + counts["rollbacks"] == counts["steps"] == 6
    assert counts["backups at the end"] > 0


def test_parallel_processes_build_each_key_once() -> None:
    counts = run("races.py", "2", "1")
    assert counts["same plan"] == counts["overlapping plans"] == 1
    assert counts["built"] == counts["keys"]
    assert counts["taken from another"] > 0


def test_a_command_that_has_nothing_to_do_is_fast() -> None:
    """The script refuses a run that builds something; its duration is not checked."""
    facts = run("noop.py", "1", "--checkpoint", "1e6")
    assert facts["checkpoint_bytes"] > 1e6
    assert {"no-op", "ordinary way", "hydra.run.dir", "deployment", "import hydra"} <= set(facts["wall_seconds"])


def test_a_voice_is_right_or_refuses_while_calls_fail(tmp_path: Path) -> None:
    facts = run("voice_soak.py", str(new_service(tmp_path, 2)), "--threads", "6", "--streams", "12")
    assert sum(facts["outcomes"].values()) == 6 * 12
    assert {"whole", "streamed", "stopped", "invalid token", "tokens raise", "run fails"} <= set(facts["outcomes"])


def test_a_chunk_with_caches_is_the_chunk_of_the_whole_prefix() -> None:
    """The script refuses a chunk that differs by more than rounding; the times are not checked."""
    directories = [str(DATA / f"cosyvoice{version}_tiny") for version in (2, 3)]
    facts = run("cached_estimator.py", *directories, "--seconds", "0.4", "1", "--rounds", "1")
    assert {name: [row["history"] for row in rows] for name, rows in facts.items()} == {
        "cosyvoice2_tiny": [20, 50], "cosyvoice3_tiny": [20, 50]}  # fmt: skip
    assert all(row["cached_s"] > 0 and row["ratio"] > 0 for rows in facts.values() for row in rows)
