"""Settings of all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.thorough import THOROUGH

pytest_plugins = ["tests.perturbation"]

# torch reads it when it is imported, and processes inherit it. The workers of pytest -n use the cores; threads of
# models this small wait for each other, and take processor time while they do. Set the variable to try more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine is no defect: no test is about how long it takes.
settings.register_profile("cosybuild", deadline=None)
settings.load_profile("cosybuild")

# Started in the background of a script, a process ignores Ctrl-C and so do its children;
# the tests that press it mean a process in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Replace `fsync`, whose effect no test can see. Commands that tests start still call it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def _quick_garbage_collection() -> None:
    """Exclude the objects that are loaded now from later garbage collections.

    A build collects garbage after each step. With torch, onnx and the test suite loaded each collection would look
    at millions of objects that stay for ever.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that the list of thorough tests names."""
    for item in items:
        if item.nodeid.startswith(THOROUGH):
            item.add_marker(pytest.mark.thorough)


def pytest_unconfigure() -> None:
    """Let the end of the process collect everything; native libraries report what it leaves."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker of `-n` neighbouring tests, so that only one worker prepares a module's fixtures.

    A worker that has finished takes half of another's tests. If `--dist` was chosen, return None for xdist's own
    scheduler.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
