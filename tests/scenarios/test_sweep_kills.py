"""After a sweep was killed, the next one continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, column, read_sweep, sweep_directory

WORDS = ("-m", *TINY, "export=opset17,opset18,opset20")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_finished_step_is_repeated_after_a_kill(place: Place, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "cosybuild", *WORDS]
    process = subprocess.Popen(command, cwd=place.directory, env={**os.environ, "OMP_NUM_THREADS": "1"})
    entries = place.directory / "outputs" / "store" / "entries"
    deadline = time.monotonic() + 240
    # After the first cell and the export of the second.
    while len(list(entries.glob("*/*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    process.wait(timeout=120)
    finished = {path.name for path in entries.glob("*/*.json")}
    assert len(finished) >= 4
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert column(read_sweep(place), "status")[-1] in ("missing", "unfinished")

    place.cosybuild(*WORDS)
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["ok"] * 3
    assert len(list(sweep_directory(place).glob("cells/*.json"))) == 3
    repeated = []
    for cell in sweep["cells"]:
        report = json.loads((sweep_directory(place) / cell["run"] / "report.json").read_text())
        for step in report["steps"]:
            if cell["actions"][step["label"]] == "built" and f"{step['key']['digest']}.json" in finished:
                repeated.append(step["label"])
    assert repeated == []
    assert not list(place.directory.rglob("*.part"))
