"""The Python API gives the results of the command line, as data with types."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import cosybuild
from cosybuild import Settings, build, errors, plan, sweep
from cosybuild.api.commands import error_of
from cosybuild.building.events import Event
from cosybuild.building.record import Failure
from cosybuild.config.compose import config_directory
from cosybuild.config.groups.store import StoreSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from tests.scenarios.commands import QUICK, Place


@pytest.fixture
def here(built_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory in which the command line has built `QUICK`."""
    shutil.copytree(built_place.directory, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_build_of_the_command_line_is_up_to_date(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(QUICK).verdict == "nothing to do"
    report = build(QUICK)
    assert (report.verdict, report.verified, report.nothing_to_do) == ("ok", True, True)
    (run,) = (here / "outputs" / "runs").iterdir()
    assert report.directory == run
    (artifact,) = report.artifacts
    assert artifact.path.is_file()
    assert artifact.verified_by == ("verify",)
    error = report.figures["error"]
    assert error is not None
    assert error > 0
    assert capsys.readouterr() == ("", "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "failed"  # type: ignore[misc]


def test_a_change_is_built_with_its_reason_and_events(here: Path) -> None:
    words = [*QUICK, "simplify=none", "verify=off", "export.constant_folding=false"]
    planned = plan(words)
    assert (planned.verdict, planned.steps[0].verdict) == ("would build", "stale")
    assert planned.steps[0].reason == "settings.constant_folding: true -> false"
    events: list[Event] = []
    report = build(words, on_event=events.append)
    assert [(step.label, step.action) for step in report.steps] == [("export", "built")]
    assert [event.kind for event in events if event.step] == ["planned", "started", "finished"]
    assert "constant_folding: false" in (report.directory / ".hydra" / "config.yaml").read_text(encoding="utf-8")
    # The command line finds the same run.
    assert "Nothing to do" in Place(here).cosybuild(*words).out


def test_a_failed_step_raises_its_class_or_is_reported(here: Path) -> None:
    words = [*QUICK, "verify.snr_db=300"]
    with pytest.raises(errors.VerificationError, match="at least 300 dB"):
        build(words)
    report = build(words, check=False)
    assert report.verdict == "failed"
    assert report.failure is not None
    assert report.failure.exit_code == errors.VerificationError.exit_code


@pytest.mark.parametrize(
    ("overrides", "cls", "told"),
    [
        (["opset=20"], errors.ConfigurationError, "Did you mean export.opset=20"),
        (["export.opset=18,20"], errors.ConfigurationError, "several values"),
        ("trt=none verify=off", errors.ConfigurationError, "a list with one text for each override"),
        (["model_dir=nowhere"], errors.ModelDirectoryError, "nowhere does not exist"),
        (["model_dir=" + "x" * 5000], errors.ModelDirectoryError, "cannot be a path: File name too long"),
        (["model_dir=~nobody-here/x"], errors.ModelDirectoryError, "cannot be a path"),
        (["model.target=" + "[" * 500 + "]" * 500], errors.ConfigurationError, "nested too deeply"),
        (["dry_run=true"], errors.ConfigurationError, "asks for a plan"),
    ],
)
def test_errors_are_those_of_the_command_line(
    overrides: list[str], cls: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cls, match=told):
        build(overrides)
    assert not list(tmp_path.iterdir())


def test_typed_settings_are_built(here: Path) -> None:
    profile = ProfileSettings(name="tiny", profiles=({"seq_len": RangeSettings(min=4, opt=8, max=12)},))
    settings = Settings(model_dir="model", trt_profile=profile, store=StoreSettings())
    report = build(settings)
    assert [(step.label, step.action) for step in report.steps] == [("export", "hit")]
    assert plan(settings).verdict == "nothing to do"


def test_a_sweep_returns_its_cells(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.argv)
    report = sweep([*QUICK, "simplify=none", "verify=off", "export.constant_folding=true,false"])
    assert report.verdict == "ok"
    # Hydra writes values as Python does.
    assert [cell.choices["export.constant_folding"] for cell in report.cells] == ["True", "False"]
    assert all(cell.directory is not None and (cell.directory / "report.json").is_file() for cell in report.cells)
    assert (report.directory / "sweep.json").is_file()
    assert capsys.readouterr().out == ""
    assert sys.argv == before


def test_a_program_that_uses_hydra_keeps_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        with pytest.raises(errors.ConfigurationError):
            plan(["opset=20"])
        assert GlobalHydra.instance().hydra is before
        compose("config", overrides=["trt=none"])


def test_a_recorded_failure_becomes_its_class() -> None:
    error = error_of(Failure("verify", "verification", "no", "Next: x", 5))
    assert type(error) is errors.VerificationError
    assert error.hint == "Next: x"


def test_the_import_of_the_package_is_cheap(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(cosybuild.__file__).parents[1])!r})
import cosybuild
print(sorted({{"hydra", "torch", "typing", "dataclasses", "pathlib"}} & set(sys.modules)))
"""
    assert Place(tmp_path).run(sys.executable, "-S", "-c", program).out == "[]\n"


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cosybuild.nothing


@pytest.mark.attack("malformed", "the call is refused with a sentence, and no option is left out in silence")
@pytest.mark.parametrize("wrong", [None, [None], 5, [5], b"trt=none", [["trt=none"]]])
def test_overrides_that_are_no_texts_are_refused(wrong: Any) -> None:
    for call in (plan, sweep):
        with pytest.raises(errors.ConfigurationError, match="is not a list of texts"):
            call(wrong)


@pytest.mark.attack("malformed", "the call is refused with a sentence, and no option is left out in silence")
@pytest.mark.parametrize("wrong", [None, 5, "conf", Path("conf"), [5], ["missing"]])
def test_directories_of_options_that_do_not_exist_are_refused(here: Path, wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="is not a list of directories"):
        plan(QUICK, config_dirs=wrong)
