"""Commands with nothing to do whose run directory, or a part of whose configuration, is elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cosybuild.cli.nothing_to_do.early_exit as early_exit
from cosybuild.__main__ import main
from cosybuild.cli.nothing_to_do.early_exit import nothing_to_do
from tests.scenarios.commands import QUICK, Place

RUN = ["hydra.run.dir=elsewhere/mine"]
OPTION = ["verify=mine"]


@pytest.fixture
def team(used_place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a configuration directory with an option, and a link to an option."""
    monkeypatch.chdir(used_place.directory)
    monkeypatch.setattr(sys, "argv", sys.argv)
    conf = Path("team conf")
    (conf / "verify").mkdir(parents=True)
    (conf / "verify" / "mine.yaml").write_text("defaults: [upstream]\nseed: 3\n")
    Path("linked.yaml").write_text("defaults: [default]\n")
    (conf / "export").mkdir()
    (conf / "export" / "linked.yaml").symlink_to("../../linked.yaml")
    time.sleep(0.1)  # files that changed within a tick before the command are not certified
    return conf


def certified(words: list[str]) -> str:
    assert nothing_to_do(words) is None
    assert main(words) == 0
    message = nothing_to_do(words)
    assert message is not None
    return message


def test_a_run_directory_of_the_user_is_certified(team: Path) -> None:
    assert "elsewhere/mine/report.md" in certified([*QUICK, *RUN])
    assert nothing_to_do([*QUICK, "hydra.run.dir=elsewhere/other"]) is None
    next(Path("elsewhere/mine").rglob("*.onnx")).unlink()
    assert nothing_to_do([*QUICK, *RUN]) is None


@pytest.mark.parametrize("spelling", [["--config-dir", "team conf"], ["--config-dir=team conf"], ["-cd", "team conf"]])
def test_a_configuration_directory_is_certified(team: Path, spelling: list[str]) -> None:
    assert certified([*spelling, *QUICK, *OPTION]).startswith("Nothing to do")


CHANGES: dict[str, Callable[[Path], object]] = {
    "an option is edited": lambda conf: (conf / "verify" / "mine.yaml").write_text("defaults: [upstream]\nseed: 4\n"),
    "an option is added": lambda conf: (conf / "verify" / "more.yaml").write_text("seed: 1\n"),
    "a group is added": lambda conf: (conf / "trt").mkdir(),
    "an option is removed": lambda conf: (conf / "export" / "linked.yaml").unlink(),
    "the target of a link is edited": lambda conf: Path("linked.yaml").write_text("defaults: [opset17]\n"),
    "a link gets another target": lambda conf: (
        (conf / "new").symlink_to("../../other.yaml"),
        (conf / "new").rename(conf / "export" / "linked.yaml"),
    ),
    "the directory is replaced": lambda conf: (conf.rename("old"), shutil.copytree("old", conf, symlinks=True)),
    "the directory is removed": shutil.rmtree,
}


@pytest.mark.attack("stale", "the certificate is void")
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_in_the_configuration_directory_is_seen(team: Path, what: str) -> None:
    words = ["--config-dir", str(team), *QUICK, *OPTION]
    certified(words)
    CHANGES[what](team)
    assert nothing_to_do(words) is None


def _link_a_group(conf: Path) -> None:
    Path("groups").mkdir()
    (conf / "trt").symlink_to("../groups")


UNWATCHABLE: dict[str, Callable[[Path], object]] = {
    "a link to a directory": _link_a_group,
    "an option that reads the clock": lambda conf: (conf / "x.yaml").write_text("a: ${now:%S}\n"),
    "an option that reads any variable": lambda conf: (conf / "x.yaml").write_text("a: ${oc.env:COLUMNS}\n"),
    "a link to nothing": lambda conf: (conf / ".#mine.yaml").symlink_to("user@host.123"),
    "a file that is no text": lambda conf: (conf / "x.yaml").write_bytes("a: \xe9".encode("latin-1")),
    "a pipe": lambda conf: os.mkfifo(conf / "x.yaml"),
    "more files than can be watched": lambda conf: [
        (conf / f"{n}.yaml").touch() for n in range(early_exit._MOST_CONFIGURED)
    ],
}


@pytest.mark.attack("stale", "no certificate")
@pytest.mark.parametrize("what", UNWATCHABLE)
def test_a_configuration_directory_that_cannot_be_watched_gets_no_certificate(team: Path, what: str) -> None:
    UNWATCHABLE[what](team)
    time.sleep(0.1)
    words = ["--config-dir", str(team), *QUICK, *OPTION]
    assert main(words) == 0
    assert nothing_to_do(words) is None


@pytest.mark.attack("stale", "no certificate")
@pytest.mark.parametrize(
    "words",
    [
        ["hydra.run.dir=elsewhere/${oc.env:COLUMNS}"],
        ["--config-dir", "team ${oc.env:COLUMNS,conf}"],
        ["--config-dir"],
        ["+hydra.run.dir=elsewhere"],
        ["hydra.run.directory=elsewhere"],
        ["--config-path=team conf"],
        ["-cp", "team conf"],
    ],
)
def test_other_options_of_hydra_get_no_certificate(words: list[str]) -> None:
    assert early_exit._config_directories(words) is None
