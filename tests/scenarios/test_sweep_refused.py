"""Sweeps that are refused before the first cell: too many cells, no cells, and a directory that cannot be made."""

from __future__ import annotations

import pytest

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY


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
