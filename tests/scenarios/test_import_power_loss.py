"""A power cut during `import` leaves the complete run directory or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosybuild.run.sharing.import_bundle import read_bundle
from cosybuild.store.store import Store
from tests.powerloss import in_memory, recorded
from tests.scenarios.commands import Place


@pytest.mark.attack("interrupt", "the whole run or none")
@pytest.mark.skipif(os.name != "posix", reason="directories are synced there")
def test_a_power_cut_during_an_import_leaves_the_complete_run_or_none(used_place: Place, tmp_path: Path) -> None:
    (run,) = used_place.runs()
    used_place.cosybuild("bundle", run.name, "--without-artifacts", "--into", "run.tar.gz")
    with in_memory(tmp_path / "memory") as place:
        store, runs = Store(place / "store", warn=lambda message: None), place / "runs"
        found, at_the_end = recorded(place, lambda: read_bundle(used_place.directory / "run.tar.gz", store, runs))
        taken = runs / f"{run.name}.imported"
        names = {f"runs/{taken.name}/{path.relative_to(taken)}" for path in taken.rglob("*")}
        whole = {name: (place / name).read_bytes() if (place / name).is_file() else None for name in names}
    seen = set()
    for disk in found:
        here = {name: content for name, content in disk if name.startswith(f"runs/{taken.name}/")}
        assert here in ({}, whole)
        seen.add(bool(here))
        assert disk not in at_the_end or here == whole
    assert seen == {False, True}
