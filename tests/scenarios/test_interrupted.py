"""Commands that are interrupted or killed, and the same command several times at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cosybuild.__main__ import main
from tests.scenarios.commands import QUICK, Place, actions

COMMAND = [sys.executable, "-m", "cosybuild", *QUICK]


def start(place: Place) -> subprocess.Popen[str]:
    """Start a build as a terminal does."""
    return subprocess.Popen(
        COMMAND,
        cwd=place.directory,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(place: Place) -> list[dict[str, str]]:
    logs = list(place.directory.glob("outputs/runs/*/events.jsonl"))
    lines = logs[0].read_text(encoding="utf-8").splitlines(keepends=True) if logs else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(place: Place, kind: str, step: str) -> None:
    deadline = time.monotonic() + 300
    while not any(event["kind"] == kind and event["step"] == step for event in events(place)):
        assert time.monotonic() < deadline, f"'{step}' was never {kind}"
        time.sleep(0.005)


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=120)


@pytest.fixture
def fresh_place(place: Place, built_place: Place) -> Place:
    shutil.copytree(built_place.directory / "model", place.directory / "model")
    return place


def contents(place: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.directory.glob("outputs/runs/*/artifacts/*.onnx")}


@pytest.mark.attack("interrupt", "the next run continues")
@pytest.mark.parametrize("kind", ["started", "finished"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_run_after_an_interrupted_one_continues(
    fresh_place: Place, built_place: Place, number: signal.Signals, kind: str
) -> None:
    """The interrupt comes during the export or after it."""
    process = start(fresh_place)
    wait_for(fresh_place, kind, "export")
    _, err = end(process, number)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        # If the interrupt comes during an import, the signal ends Python; a shell shows 130 in both cases.
        assert process.returncode in (130, -signal.SIGINT)
        assert err.strip() == "Interrupted. Finished steps are kept; the same command continues from there."
        assert fresh_place.report()["status"] == "interrupted"
        assert "**Interrupted**" in (fresh_place.runs()[0] / "report.md").read_text(encoding="utf-8")
        assert fresh_place.report()["failure"]["kind"] == "interrupted"
        assert "interrupted" in fresh_place.cosybuild("explain", str(fresh_place.runs()[0])).out
    assert not contents(fresh_place)
    fresh_place.cosybuild("store", "verify")
    fresh_place.cosybuild(*QUICK)
    done = actions(fresh_place.report())
    assert done.pop("export") == ("hit" if kind == "finished" else "built")
    assert contents(fresh_place) == contents(built_place)
    assert not list(fresh_place.directory.rglob("*.part"))


@pytest.mark.parametrize("words", [QUICK, ["doctor"]])
def test_an_interrupt_during_an_import_ends_without_a_traceback(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cosybuild.cli.nothing_to_do.early_exit.nothing_to_do", interrupt)
    monkeypatch.setattr("importlib.import_module", interrupt)
    assert main(list(words)) == 130
    assert capsys.readouterr().err.strip().startswith("Interrupted.")


def test_the_same_command_in_parallel_builds_once(fresh_place: Place) -> None:
    """One builds, the others wait and find everything built; the run's record is that of the builder."""
    processes = [start(fresh_place) for _ in range(3)]
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        printed.append(out)
    assert sum("building  export" in out for out in printed) == 1
    others = [out for out in printed if "building  export" not in out]
    assert all("Nothing to do" in out for out in others)
    assert set(actions(fresh_place.report()).values()) == {"built"}
    assert [event["kind"] for event in events(fresh_place)].count("started") == len(fresh_place.report()["steps"])
    assert "never built" in fresh_place.cosybuild("explain", str(fresh_place.runs()[0])).out


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_output_is_closed_reports_no_success(unbuffered: str) -> None:
    """The output is closed as by `| head`; exit code 0 would be read as a finished build."""
    code = (
        "import sys\n"
        "from cosybuild.cli.failure import run_guarded\n"
        "sys.exit(run_guarded(lambda: print('built', flush=True) or 0))\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
