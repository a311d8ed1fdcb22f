"""A sweep on a Ray cluster of two nodes that share no directory, only a remote store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cosybuild.lazy import is_installed
from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, built, column, digests, read_sweep

pytestmark = pytest.mark.skipif(not is_installed("ray"), reason="the extra ray is not installed here")

CELLS = (*TINY, "verify.rtol=1e-4,1e-3", "export=opset17,opset18")
NODES = ("left", "right")


@dataclass(frozen=True)
class Cluster:
    """Two nodes, each with room for one cell at a time, and with a directory and a store of its own.

    Attributes:
        address: the address of the head.
        directory: contains the nodes' directories and `remote`, the remote of their stores.
        environment: the environment that a command needs to join.
    """

    address: str
    directory: Path
    environment: Mapping[str, str]

    def words(self) -> tuple[str, ...]:
        return (
            "hydra/launcher=ray",
            f"hydra.launcher.address={self.address}",
            "hydra.launcher.directory=$NODE_DIRECTORY/work",
            *self.store(),
        )

    def store(self) -> tuple[str, ...]:
        return ("store=shared", f"store.remote=file://{self.directory}/remote")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def node(directory: Path, environment: Mapping[str, str], *words: str) -> Iterator[None]:
    """Run a node's processes in their own process group during the context."""
    directory.mkdir()
    program = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "start", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", *words],
            cwd=directory,
            env={**environment, "NODE_DIRECTORY": str(directory), "COSYBUILD_STORE": str(directory / "store")},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            finally:
                with suppress(ProcessLookupError):  # unless the whole group has ended
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for_head(port: int) -> None:
    """Wait until the head answers."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "the head of the cluster does not start"
            time.sleep(0.1)


def wait_for_nodes(address: str, environment: Mapping[str, str], count: int) -> None:
    """Wait until the cluster has this number of nodes."""
    program = (
        "import sys, time, ray\n"
        "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='error')\n"
        "while sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]): time.sleep(0.1)\n"
    )
    subprocess.run([sys.executable, "-c", program, address, str(count)], env=environment, timeout=240, check=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    port = free_port()
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        # Pytest's directories are longer than the limit for names of sockets.
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-"))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # authentication would leave a token in the user's home
            "RAY_TMPDIR": short,
        }
        head = ("--head", f"--port={port}", f"--temp-dir={short}", "--include-dashboard=false")
        head = (*head, f"--ray-client-server-port={free_port()}")
        stack.enter_context(node(directory / NODES[0], environment, *head))
        wait_for_head(port)
        stack.enter_context(node(directory / NODES[1], environment, f"--address={address}"))
        wait_for_nodes(address, environment, 2)
        yield Cluster(address, directory, environment)


def test_cells_on_two_nodes_give_the_same_artifacts_as_alone(cluster: Cluster, tmp_path: Path) -> None:
    sequential, place = Place(tmp_path / "sequential"), Place(tmp_path / "ray")
    for one in (sequential, place):
        one.directory.mkdir()
    sequential.cosybuild("-m", *CELLS)
    environment = {**cluster.environment, "COSYBUILD_STORE": str(place.directory / "store")}
    ran = place.cosybuild("-m", *CELLS, *cluster.words(), env=environment)
    sweep, alone = read_sweep(place), read_sweep(sequential)
    assert column(sweep, "status") == ["ok"] * 4
    # The store is part of a cell's name, so cells are compared in their order.
    assert list(digests(sweep).values()) == list(digests(alone).values())
    assert sweep["name"] == alone["name"]
    assert sum(line.startswith("      ok  ") for line in ran.out.splitlines()) == 4
    # Both nodes built, and nothing was built here.
    for name in NODES:
        assert list((cluster.directory / name / "store" / "entries").rglob("*.json")), name
        assert (cluster.directory / name / "work" / "outputs").is_dir()
    assert not (place.directory / "store").exists()
    # Records were returned, artifacts were not: the same command places them, from the remote.
    cell = sweep["cells"][0]
    run = place.directory / "outputs" / "runs" / Path(cell["run"]).name
    assert (run / "report.md").is_file()
    assert not (run / "artifacts").exists()
    here = place.cosybuild(*cell["overrides"], *cluster.store(), env=environment)
    assert "building" not in here.out
    assert (run / "artifacts" / "conv1d.fp32.onnx").is_file()

    again = place.cosybuild("-m", *CELLS, *cluster.words(), env=environment)
    assert built(read_sweep(place), "export") == 0, again.out


def test_a_cell_that_fails_on_a_node_is_reported(cluster: Cluster, place: Place) -> None:
    words = (*TINY, "simplify=none", "verify=off", "export.exporter=dynamo,torchscript", "export=opset17")
    ran = place.cosybuild("-m", *words, *cluster.words(), code=2, env={**cluster.environment, "COSYBUILD_STORE": "s"})
    assert column(read_sweep(place), "status") == ["failed", "ok"]
    assert "cannot write opset 17" in ran.out


def test_an_absent_cluster_is_an_error_of_the_user(place: Place) -> None:
    address = f"127.0.0.1:{free_port()}"
    ran = place.cosybuild("-m", *CELLS, "hydra/launcher=ray", f"hydra.launcher.address={address}", code=6)
    assert f"no Ray cluster at hydra.launcher.address={address}" in ran.err
    assert set(column(read_sweep(place), "status")) == {"missing"}
