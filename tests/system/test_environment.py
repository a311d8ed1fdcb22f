"""Facts of a machine: versions from pip, and devices from the driver's tool."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from cosybuild.system import environment as module
from cosybuild.system.environment import Environment, Gpu

TWO = """\
0, NVIDIA L20, 8.9, 46068, 550.54.15
1, NVIDIA H100 80GB HBM3, 9.0, 81559, 550.54.15
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the driver's tool, in the only directory of PATH; the file does not exist yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def answer(tool: Path, text: str, code: int = 0) -> None:
    """Let the tool print `text` if it is called with the expected arguments."""
    wanted = "--query-gpu=index,name,compute_cap,memory.total,driver_version --format=csv,noheader,nounits"
    tool.write_text(
        f"#!/bin/sh\n[ \"$*\" = '{wanted}' ] || exit 9\n/bin/cat <<'END'\n{text}END\nexit {code}\n", encoding="utf-8"
    )
    tool.chmod(0o755)


def test_devices_are_read_from_the_driver(tool: Path) -> None:
    answer(tool, TWO)
    environment = Environment()
    assert environment.gpus == (
        Gpu(0, "NVIDIA L20", 89, 46068 * 2**20),
        Gpu(1, "NVIDIA H100 80GB HBM3", 90, 81559 * 2**20),
    )
    assert environment.driver == "550.54.15"


def test_a_capability_with_two_digits_before_the_point_is_read(tool: Path) -> None:
    answer(tool, "0, NVIDIA B200, 10.0, 183359, 570.1\n")
    assert [gpu.sm for gpu in Environment().gpus] == [100]


def test_a_device_without_memory_of_its_own_is_listed_and_a_failed_one_is_not(tool: Path) -> None:
    """The first device has failed, so nothing can be built for it; the second shares the host's memory."""
    answer(tool, "0, NVIDIA L20, [Unknown Error], [Unknown Error], 580.95\n1, NVIDIA GB10, 12.1, [N/A], 580.95\n")
    environment = Environment()
    assert environment.gpus == (Gpu(1, "NVIDIA GB10", 121, None),)
    assert environment.driver == "580.95"


def test_without_a_driver_there_are_no_devices(tool: Path) -> None:
    assert (Environment().gpus, Environment().driver) == ((), None)


def test_a_tool_that_fails_is_no_driver(tool: Path) -> None:
    """In a container without devices the tool prints a message on standard output."""
    answer(tool, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", code=9)
    assert (Environment().gpus, Environment().driver) == ((), None)


def test_a_tool_that_never_answers_is_no_driver(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens when a device has failed."""
    tool.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    tool.chmod(0o755)
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.1)
    assert (Environment().gpus, Environment().driver) == ((), None)


def test_another_machine_can_be_described(tool: Path) -> None:
    answer(tool, TWO)
    other = Environment(versions={"torch": "9.9"}, gpu_list=(Gpu(0, "a", 120, 1),))
    assert [gpu.sm for gpu in other.gpus] == [120]
    assert other.driver is None
    assert other.version("torch") == "9.9"


def test_a_version_is_found_under_any_spelling_of_the_distribution() -> None:
    environment = Environment()
    assert environment.version("PyTest") == importlib.metadata.version("pytest")
    assert environment.version("Hydra_Core") == environment.version("hydra-core") is not None
    assert environment.version("no-such-distribution") is None


def test_the_facts_of_the_machine_are_recorded() -> None:
    machine = Environment().machine
    assert set(machine) == {"host", "system", "python", "cpus"}
    assert int(machine["cpus"]) >= 1
