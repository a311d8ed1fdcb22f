"""The same sweep gives the same artifacts with every launcher, and the called process writes the report."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cosybuild.lazy import is_installed
from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, built, column, digests, read_sweep

WORDS = ("-m", *TINY, "export=opset17,opset18", "verify.rtol=1e-4,1e-3")

LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"),
    "slurm": ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10"),
}
PACKAGES = {"slurm": "submitit"}
COMMANDS = shutil.which("srun") is not None
SLURM = COMMANDS and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("sequential"))
    place.cosybuild(*WORDS)
    return place


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_with_processes_builds_the_same_and_each_step_once(
    tmp_path: Path, sequential: Place, launcher: str
) -> None:
    if not is_installed(f"hydra_plugins.hydra_{PACKAGES.get(launcher, launcher)}_launcher"):
        pytest.skip(f"the extra for {launcher} is not installed here")
    if launcher == "slurm" and not SLURM:
        pytest.skip("there is no Slurm cluster here")
    place = Place(tmp_path)
    place.cosybuild(*WORDS, *LAUNCHERS[launcher])
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["ok"] * 4
    assert (built(sweep, "export"), built(sweep, "simplify"), built(sweep, "verify")) == (2, 2, 4)
    assert digests(sweep) == digests(read_sweep(sequential))
    assert sweep["name"] == read_sweep(sequential)["name"]


def test_a_cell_that_fails_in_another_process_is_reported(tmp_path: Path) -> None:
    if not is_installed("hydra_plugins.hydra_joblib_launcher"):
        pytest.skip("the extra for joblib is not installed here")
    place = Place(tmp_path)
    words = (*TINY, "simplify=none", "verify=off", "export.exporter=dynamo,torchscript", "export=opset17")
    ran = place.cosybuild("-m", *words, *LAUNCHERS["joblib"], code=2)
    assert column(read_sweep(place), "status") == ["failed", "ok"]
    assert "cannot write opset 17" in ran.out


@pytest.mark.parametrize("launcher", ["joblib", "submitit"])
def test_engines_are_built_in_worker_processes_too(tmp_path: Path, launcher: str) -> None:
    """The worker, a process of the launcher, starts the process that builds the engine."""
    if not is_installed(f"hydra_plugins.hydra_{launcher}_launcher") or not is_installed("tensorrt_rtx"):
        pytest.skip(f"the extra for {launcher}, or TensorRT-RTX, is not installed here")
    place = Place(tmp_path)
    place.cosybuild("-m", *TINY[:-1], "simplify=none", "verify=off", "trt=fp32,fp16", *LAUNCHERS[launcher])
    sweep = read_sweep(place)
    assert column(sweep, "status") == ["ok", "ok"]
    assert built(sweep, "engine sm_89") == 2


@pytest.mark.skipif(COMMANDS, reason="Slurm's commands are here")
def test_the_slurm_launcher_without_slurm_is_an_error_of_the_user(place: Place) -> None:
    if not is_installed("hydra_plugins.hydra_submitit_launcher"):
        pytest.skip("the extra slurm is not installed here")
    ran = place.cosybuild(*WORDS, "hydra/launcher=submitit_slurm", code=6)
    assert "srun" in ran.err
    assert set(column(read_sweep(place), "status")) == {"missing"}
