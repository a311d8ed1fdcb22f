"""Sweeps that end before the first cell: a wrong number of cells, no directory, a launcher's error, Ctrl-C."""

from __future__ import annotations

import sys

import pytest

from cosybuild.lazy import is_installed
from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, column, read_sweep

INTERRUPTED = """
import runpy
import hydra.core.utils

def run_job(*given, **more):
    raise KeyboardInterrupt

hydra.core.utils.run_job = run_job
runpy.run_module("cosybuild", run_name="__main__")
"""
"""A `python -m cosybuild` that is interrupted before it runs the first cell."""


@pytest.mark.attack("fill or wait", "the sweep is refused at once, with its number of cells")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify.seed=range(1,1e8)"], "The sweep has 99,999,999 cells, and at most 10,000 are run"),
        (["verify.seed=shuffle(range(1,100000000))"], "The sweep has 99,999,999 cells"),
        (["verify.seed=range(0,1e400)"], "The sweep has inf cells"),
        (["verify.seed=range(0,101)", "verify.threads=range(0,100)"], "verify.threads=range(0,100) has 100"),
        (["verify.seed=range(5,1)"], "The sweep has no cells, because verify.seed=range(5,1) has no values"),
        (["verify.seed=range(1,5,0)"], "must not be zero"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_sweep_of_too_many_or_no_cells_is_refused(place: Place, words: list[str], said: str, dry: bool) -> None:
    ran = place.cosybuild("-m", *TINY, *words, *(["dry_run=true"] if dry else []), code=2)
    assert said in ran.err
    assert not list(place.directory.glob("outputs/runs/*"))


@pytest.mark.parametrize("setting", ["hydra.sweep.dir=/proc/x", "hydra.sweep.dir=/dev/null/x"])
def test_a_directory_that_cannot_be_made_is_a_store_error(place: Place, setting: str) -> None:
    ran = place.cosybuild("-m", *TINY, "verify=off", "export.opset=17,18", setting, code=7)
    assert ran.err.startswith("store error: The directory of the sweep cannot be made: ")
    assert "Next: give hydra.sweep.dir a directory in which you can write" in ran.err


@pytest.mark.attack("stale", "the cells are missing in the report, and the sweep is unfinished")
def test_a_cell_that_is_not_reached_does_not_show_an_earlier_result(place: Place) -> None:
    words = ("-m", *TINY, "verify=off", "export.opset=17,18")
    place.cosybuild(*words)
    assert column(read_sweep(place), "status") == ["ok", "ok"]
    place.run(sys.executable, "-c", INTERRUPTED, *words, code=130)
    sweep = read_sweep(place)
    assert (sweep["status"], column(sweep, "exit_code")) == ("unfinished", [None, None])
    place.cosybuild(*words)
    assert column(read_sweep(place), "status") == ["ok", "ok"]


@pytest.mark.skipif(not is_installed("hydra_plugins.hydra_joblib_launcher"), reason="the extra for joblib is missing")
@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("hydra.launcher.n_jobs=0", 2, "The launcher refuses a setting: n_jobs == 0"),
        ("hydra.launcher.timeout=0.1", 4, "did not end within its time limit (hydra.launcher.timeout)"),
    ],
)
def test_an_error_of_the_joblib_launcher_is_explained(place: Place, setting: str, code: int, said: str) -> None:
    more = () if "n_jobs" in setting else ("hydra.launcher.n_jobs=2",)
    words = ("verify=off", "export.opset=17,18", "hydra/launcher=joblib", setting, *more)
    assert said in place.cosybuild("-m", *TINY, *words, code=code).err
