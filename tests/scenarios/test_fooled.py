"""Attempts to make a command say "nothing to do" for a model or settings that were not built."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cosybuild.cli.job as job
import cosybuild.models.directory.locate as locate
from cosybuild.__main__ import main
from cosybuild.cli.nothing_to_do.early_exit import DIRECTORY, _is_constant, nothing_to_do
from tests.scenarios.commands import QUICK, Place
from tests.scenarios.rebuilding import flip

REST = QUICK[1:]


class Models:
    """`up/models/a` has been built, `b` has other weights; `current` is a link to `a`."""

    def __init__(self, directory: Path) -> None:
        self.models = directory / "up" / "models"
        self.models.mkdir(parents=True)
        shutil.move(directory / "model", self.models / "a")
        shutil.copytree(self.models / "a", self.models / "b")
        flip(self.models / "b" / "flow.pt")
        (self.models / "current").symlink_to("a")
        time.sleep(0.06)  # one tick of the file system's clock

    @property
    def words(self) -> list[str]:
        return [f"model_dir={self.models.relative_to(Path.cwd())}/current", *REST]

    def turn(self, target: str) -> None:
        (self.models / "new").symlink_to(target)
        (self.models / "new").replace(self.models / "current")

    def move(self) -> None:
        """Replace `up` by another directory whose files have the same times."""
        up = self.models.parent
        shutil.copytree(up, up.with_name("other"), symlinks=True)
        up.rename(up.with_name("gone"))
        up.with_name("other").rename(up)
        self.turn("b")

    def replace(self) -> None:
        """Replace the weights that were built by others of the same size and time."""
        weights, other = self.models / "a" / "flow.pt", self.models / "b" / "flow.pt"
        stat = weights.stat()
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(weights)

    def write_through(self) -> None:
        """Do the same as `replace`, in the same inode."""
        weights = self.models / "a" / "flow.pt"
        stat = weights.stat()
        flip(weights)
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def models(used_place: Place, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.chdir(used_place.directory)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return Models(used_place.directory)


def test_a_link_that_does_not_change_is_certified(models: Models) -> None:
    assert main(models.words) == 0
    assert nothing_to_do(models.words) is not None
    models.turn("b")
    assert nothing_to_do(models.words) is None


WHILE_IT_BUILDS: dict[str, Callable[[Models], object]] = {
    "the link is turned": lambda m: m.turn("b"),
    "the directory above is moved": lambda m: m.move(),
    "the weights are replaced": lambda m: m.replace(),
    "the weights are written through": lambda m: m.write_through(),
    "the yaml is edited": lambda m: flip(m.models / "a" / "cosyvoice2.yaml"),
    "a second yaml comes": lambda m: (m.models / "a" / "cosyvoice.yaml").write_text("x: 1\n"),
    "the weights are in another container": lambda m: (m.models / "a" / "flow.pt").rename(m.models / "a" / "x"),
}


@pytest.mark.attack("stale", "what changed is built again")
@pytest.mark.parametrize("what", WHILE_IT_BUILDS)
def test_a_change_during_the_build_prevents_the_certificate(
    models: Models, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The host's clock is a minute ahead of the file system's; the result must be the same."""
    real, clock = job.run_build, time.time_ns

    def build(*arguments: object) -> object:
        report = real(*arguments)  # type: ignore[arg-type]  # handed on
        WHILE_IT_BUILDS[what](models)
        return report

    monkeypatch.setattr(job, "run_build", build)
    monkeypatch.setattr(time, "time_ns", lambda: clock() + 60 * 10**9)
    assert main(models.words) == 0
    assert nothing_to_do(models.words) is None


@pytest.mark.attack("stale", "what changed is built again")
@pytest.mark.parametrize(
    ("word", "variable"),
    [
        ("export.opset=${oc.env:COLUMNS}", "COLUMNS"),
        ('export.opset="${oc.decode:${oc.env:LINES}}"', "LINES"),
        ('export.opset="${oc.env:${oc.env:TMUX_WHICH}}"', "TMUX_OPSET"),
        ("export.opset='${oc.env:SSH_OPSET}'", "SSH_OPSET"),
        ("++export.opset=${oc.env:TERM_OPSET}", "TERM_OPSET"),
        ("export.opset=${oc.env:_,18}", "_"),
    ],
)
def test_a_variable_in_an_override_prevents_the_certificate(
    models: Models, monkeypatch: pytest.MonkeyPatch, word: str, variable: str
) -> None:
    monkeypatch.setenv("TMUX_WHICH", "TMUX_OPSET")
    monkeypatch.setenv(variable, "18")
    words = [*models.words, word]
    assert main(words) == 0
    monkeypatch.setenv(variable, "17")
    assert nothing_to_do(words) is None


@pytest.mark.attack("stale", "what changed is built again")
def test_a_changed_variable_that_names_the_model_invalidates_the_certificate(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["model_dir=${oc.env:SSH_MODEL}", *REST]
    monkeypatch.setenv("SSH_MODEL", str(models.models / "a"))
    assert main(words) == 0
    monkeypatch.setenv("SSH_MODEL", str(models.models / "b"))
    assert nothing_to_do(words) is None


@pytest.mark.attack("stale", "what changed is built again")
def test_a_hub_is_queried_each_time(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "fetch_model", lambda hub_id, files: models.models / "current")
    words = ["model_dir=acme/voice", *REST]
    assert main(words) == 0
    assert nothing_to_do(words) is None


@pytest.mark.attack("stale", "what changed is built again")
@pytest.mark.parametrize("word", ["++store.verify=true", "++lock=true", "++dry_run=true", "++hydra.verbose=false"])
def test_words_that_request_more_in_any_spelling_run_in_full(models: Models, word: str) -> None:
    words = [*models.words, word]
    assert main(words) == 0
    assert not Path(DIRECTORY).exists() or nothing_to_do(words) is None


@pytest.mark.attack("stale", "what changed is built again")
@pytest.mark.parametrize("moved", ["release", "held"])
def test_a_lock_file_of_hold_to_is_read_each_time(models: Models, moved: str) -> None:
    assert main([*models.words, "lock=true"]) == 0
    (lock,) = Path("outputs").rglob("*.lock")
    shutil.copy(lock, moved)
    words = [*models.words, f"++hold_to={moved}"]
    assert main(words) == 0
    assert nothing_to_do(words) is None


@pytest.mark.attack("stale", "what changed is built again")
def test_dots_behind_a_link_are_followed_as_the_kernel_does(models: Models) -> None:
    elsewhere = models.models / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    shutil.copytree(models.models / "a", elsewhere.parent / "x")
    shutil.copytree(models.models / "a", models.models / "x")
    (models.models / "way").symlink_to("elsewhere/deep")
    time.sleep(0.06)
    words = [f"model_dir={models.models}/way/../x", *REST]
    assert main(words) == 0
    assert nothing_to_do(words) is not None
    flip(elsewhere.parent / "x" / "flow.pt")
    assert nothing_to_do(words) is None


@pytest.mark.parametrize(
    ("call", "lasts"),
    [
        ("oc.env:COSYBUILD_STORE}", True),
        ("oc.env:COSYBUILD_STORE,outputs/store}", True),
        ("cosybuild.run_dir:}", True),
        ("hydra.help.header}", True),
        ("..seq_len}", True),
        ("oc.env:COLUMNS,18}", False),
        ("oc.env: SSH_MODEL }", False),
        (" oc.env:HOME}", False),
        ("oc.env:${which}}", False),
        ("${which}:COLUMNS}", False),
        ("oc.decode:${oc.env:LINES}}", False),
        ("now:%H}", False),
        ("acme.today:}", False),
    ],
)
def test_only_interpolations_with_lasting_values_are_certified(call: str, lasts: bool) -> None:
    assert _is_constant(call) is lasts


@pytest.mark.attack("stale", "what changed is built again")
def test_a_configuration_that_reads_the_terminal_is_not_certified(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cosybuild.cli.build as build

    conf = Path.cwd() / "conf"
    shutil.copytree(build.config_directory(), conf)
    option = conf / "export" / "opset18.yaml"
    option.write_text(option.read_text().replace("opset: 18", "opset: ${oc.env:COLUMNS}"))
    time.sleep(0.06)
    monkeypatch.setattr(build, "config_directory", lambda: conf)
    monkeypatch.setenv("COLUMNS", "18")
    assert main([*models.words, "export=opset18"]) == 0
    monkeypatch.setenv("COLUMNS", "17")
    assert nothing_to_do([*models.words, "export=opset18"]) is None
