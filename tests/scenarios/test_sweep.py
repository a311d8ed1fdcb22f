"""A sweep runs shared steps once, a cell that fails stops no other cell, and a second sweep builds nothing."""

from __future__ import annotations

import json

import torch
from torch import nn

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import EXACT, TINY, built, column, digests, read_sweep, sweep_directory

OPSETS = "export=opset17,opset18"
EXPORTERS = "export.exporter=torchscript,dynamo"


def test_shared_steps_run_once_and_a_second_sweep_runs_nothing(place: Place) -> None:
    words = ("-m", *TINY, OPSETS, "verify.rtol=1e-4,1e-3")
    first = place.cosybuild(*words)
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["ok"] * 4
    assert (built(sweep, "export"), built(sweep, "simplify"), built(sweep, "verify")) == (2, 2, 4)
    assert sweep["varied"] == ["export", "verify.rtol"]
    assert sum(line.startswith("      ok  ") for line in first.out.splitlines()) == 4
    directory = sweep_directory(place)
    assert {path.name for path in directory.iterdir()} >= {"sweep.json", "sweep.md", "sweep.html", "multirun.yaml"}
    for cell in sweep["cells"]:
        run = directory / cell["run"]
        assert run.resolve().parent == (place.directory / "outputs" / "runs").resolve()
        report = json.loads((run / "report.json").read_text())
        assert {a["name"]: a["digest"] for a in report["artifacts"]} == digests(sweep)[cell["id"]]

    again = place.cosybuild(*words)
    assert {action for cell in read_sweep(place)["cells"] for action in cell["actions"].values()} == {"cached"}
    assert sum(line.startswith("  cached  ") for line in again.out.splitlines()) == 4
    assert digests(read_sweep(place)) == digests(sweep)
    # The run of a cell equals the run of the same configuration alone.
    alone = place.cosybuild(*TINY, "export=opset17", "verify.rtol=1e-4")
    assert alone.out.startswith("Nothing to do")


def test_a_cell_that_cannot_be_built_does_not_stop_the_others(place: Place) -> None:
    ran = place.cosybuild("-m", *TINY, "simplify=none", "verify=off", OPSETS, EXPORTERS, code=2)
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["ok", "failed", "ok", "ok"]
    refused = sweep["cells"][1]
    assert (refused["choices"], refused["exit_code"]) == ({"export": "opset17", "export.exporter": "dynamo"}, 2)
    assert "cannot write opset 17" in refused["failure"]["message"]
    assert refused["failure"]["message"] in (sweep_directory(place) / "sweep.md").read_text()
    assert "cannot write opset 17" in ran.out
    assert len(place.runs()) == 3


def test_a_step_that_fails_does_not_stop_the_others(place: Place) -> None:
    # No error is less than zero, so the first cell fails on every processor.
    ran = place.cosybuild("-m", *TINY, "+verify.hops.export.max_abs=-1,1", code=5)
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["failed", "ok"]
    failed = sweep["cells"][0]
    assert (failed["failure"]["step"], failed["actions"]["export"], failed["artifacts"]) == ("verify", "built", {})
    assert "where at most -1 is asked for" in ran.out


def test_a_typo_is_found_before_anything_is_written(place: Place) -> None:
    ran = place.cosybuild("-m", *TINY, "export=opset17,opset99", code=2)
    assert "Cell 2 of 2 (export=opset99) cannot be composed. export=opset99: the group" in ran.err
    assert "missing" not in ran.out
    assert place.files() == set()
    ran = place.cosybuild("-m", *TINY, "export.opsett=17,18", code=2)
    assert "Cell 1 of 2 (export.opsett=17) cannot be composed. export.opsett: 'export' has no setting" in ran.err
    assert place.files() == set()


def test_a_dry_sweep_shows_every_plan_and_leaves_no_file(place: Place) -> None:
    ran = place.cosybuild("-m", *TINY, OPSETS, "dry_run=true")
    assert ran.out.count("Nothing was run or written") == 2
    assert place.files() == set()


def test_a_named_sweep_needs_no_flag(place: Place) -> None:
    conf = place.directory / "conf" / "sweep"
    conf.mkdir(parents=True)
    sweep = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      export: opset17,opset18\n"
    (conf / "both.yaml").write_text(f"# @package _global_\n# Two opsets.\n{sweep}")
    place.cosybuild("--config-dir", "conf", "sweep=both", *TINY, "verify=off", "simplify=none")
    assert sweep_directory(place).name.startswith("both-")
    assert column(read_sweep(place), "status") == ["ok", "ok"]


def test_the_named_sweeps_of_cosybuild_compose(place: Place) -> None:
    for name, cells in (("matrix", 6), ("nightly", 12)):
        ran = place.cosybuild(f"sweep={name}", "dry_run=true")
        assert ran.out.count("Nothing was run or written") == cells


def test_select_prints_the_command_of_the_best_cell(place: Place) -> None:
    place.cosybuild("-m", *TINY, OPSETS)
    name = sweep_directory(place).name
    ran = place.cosybuild("select", name[:8], "--objective", "size", "--max-error", "1e-3")
    best = min(read_sweep(place)["cells"], key=lambda cell: cell["figures"]["size"])
    assert ran.out.startswith("python -m cosybuild ")
    assert f"export={best['choices']['export']}" in ran.out
    command = ran.out.splitlines()[0].removeprefix("python -m cosybuild")
    assert place.run("sh", "-c", f"python -m cosybuild {command}").out.startswith("Nothing to do")
    refused = place.cosybuild("select", name, "--objective", "memory", code=4)
    assert "it has no figure 'memory'" in refused.err
    assert "is neither" in place.cosybuild("select", "nonsense", code=2).err


def test_an_error_of_zero_is_the_best(place: Place) -> None:
    place.cosybuild("-m", *EXACT, OPSETS)
    directory = sweep_directory(place)

    def no_json(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    sweep = json.loads((directory / "sweep.json").read_text(encoding="utf-8"), parse_constant=no_json)
    assert [(c["figures"]["error"], c["figures"]["snr_db"]) for c in sweep["cells"]] == [(0.0, "Infinity")] * 2
    for run in place.runs():
        for record in ("report.json", "evidence/verification.json"):
            json.loads((run / record).read_text(encoding="utf-8"), parse_constant=no_json)
    assert "| 0 | exact |" in (directory / "sweep.md").read_text(encoding="utf-8")
    limits = ("--max-error", "0", "--min-snr-db", "300")
    assert "# error 0, SNR exact" in place.cosybuild("select", directory.name, "--objective", "error", *limits).out
    assert place.cosybuild(*EXACT, "export=opset17").out.startswith("Nothing to do")


def test_a_sweep_says_what_changed_since_the_last_one(place: Place) -> None:
    words = ("-m", *TINY, "model.weights=w.pt", OPSETS, "verify=off", "simplify=none")
    state = nn.Conv1d(4, 4, 3, padding=1).state_dict()
    torch.save(state, place.directory / "w.pt")
    assert "Since the sweep of" not in place.cosybuild(*words).out
    assert "nothing changed." in place.cosybuild(*words).out
    torch.save({name: tensor * 1.5 for name, tensor in state.items()}, place.directory / "w.pt")
    assert place.cosybuild(*words).out.count("sha256 of ") == 2
    report = (sweep_directory(place) / "sweep.md").read_text(encoding="utf-8")
    assert "## Since the sweep of" in report
    history = sorted((sweep_directory(place) / "history").iterdir())
    assert len(history) == 2
    assert json.loads(history[0].read_text(encoding="utf-8"))["status"] == "ok"
