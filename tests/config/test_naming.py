"""Run names are stable and readable, and differ if the builds differ."""

from __future__ import annotations

import re

import pytest

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.naming import config_digest, relevant, run_name
from cosybuild.config.settings import Settings
from cosybuild.system.typed_json import to_json
from tests.config.composing import settings_of

CHOICES = {"model": "auto", "export": "opset18", "trt_profile": "default"}


@pytest.mark.parametrize("override", ["store=off", "store.path=/elsewhere", "dry_run=true", "lock=true"])
def test_settings_of_places_do_not_change_the_name(override: str) -> None:
    assert config_digest(settings_of(override)) == config_digest(settings_of())


@pytest.mark.parametrize("override", ["export.opset=20", "model.seed=1", "verify.rtol=1e-3", "simplify=none"])
def test_settings_of_the_build_change_the_name(override: str) -> None:
    assert config_digest(settings_of(override)) != config_digest(settings_of())


def test_the_name_has_the_chosen_options() -> None:
    assert re.fullmatch(r"auto-opset18-default-[0-9a-f]{8}", run_name(settings_of(), CHOICES))


def test_the_name_has_the_opset_that_replaces_that_of_the_option() -> None:
    assert run_name(settings_of("export.opset=20"), CHOICES).startswith("auto-opset20-default-")


def test_the_name_of_the_model_directory_is_in_the_name_and_cannot_lead_out_of_the_directory() -> None:
    name = run_name(settings_of("model_dir=/models/../../..", "model.streaming=true"), CHOICES)
    assert re.fullmatch(r"\.\.-streaming-opset18-default-[0-9a-f]{8}", name)
    assert "/" not in run_name(settings_of("model_dir='a/b c/ü'"), CHOICES)


def test_a_name_in_any_script_stays() -> None:
    assert run_name(settings_of("model_dir='/models/模型'"), CHOICES).startswith("模型-opset18-")
    long = run_name(settings_of(f"model_dir='/models/{'模' * 90}'"), CHOICES)
    assert re.fullmatch(r"模{26}-opset18-default-[0-9a-f]{8}", long)


def test_settings_that_earlier_records_lack_do_not_change_the_name() -> None:
    plain = to_json(settings_of())
    assert plain["model"].pop("weights_from") is None
    assert plain["export"].pop("static") == {}
    assert plain["verify"]["solver"].pop("steps") is None
    assert plain["verify"].pop("inputs") is None
    assert plain["verify"].pop("outputs") == {}
    assert plain.pop("ov") is None
    assert relevant(plain) == relevant(to_json(settings_of()))
    for word in ("model.weights_from=ema", "export.static={seq_len: 9}", "verify.solver.steps=4", "verify.inputs=f"):
        assert config_digest(settings_of(word)) != config_digest(settings_of())


def test_the_default_configuration_has_the_digest_of_earlier_releases() -> None:
    """A new setting must be in `_LATER`. Otherwise every run gets a new directory, and every lock file is refused."""
    assert config_digest(settings_of()).startswith("71681809e995")


def test_a_long_name_of_a_model_directory_leaves_room_for_the_rest() -> None:
    name = run_name(settings_of(f"model_dir=/models/{'m' * 250}"), CHOICES)
    assert re.fullmatch(r"m{80}-opset18-default-[0-9a-f]{8}", name)


def test_the_default_component_has_the_same_names_as_records_without_a_component() -> None:
    settings = settings_of()
    plain = to_json(settings)
    known = {name: value for name, value in plain.items() if name not in ("component", "vocoder")}
    assert relevant(plain) == relevant(known)
    assert run_name(settings_of("component=estimator"), CHOICES) == run_name(settings, CHOICES)


def test_another_component_changes_the_name() -> None:
    settings = settings_of("component=frontend")
    assert config_digest(settings) != config_digest(settings_of())
    assert re.fullmatch(r"auto-frontend-opset18-default-[0-9a-f]{8}", run_name(settings, CHOICES))


def test_another_form_of_the_vocoder_is_part_of_the_name() -> None:
    settings = settings_of("component=vocoder", "vocoder=spectrum", "vocoder.f0=float64", "trt=none")
    assert config_digest(settings) != config_digest(settings_of("component=vocoder", "trt=none"))
    name = run_name(settings, CHOICES)
    assert re.fullmatch(r"auto-vocoder-spectrum-f0_float64-opset18-default-[0-9a-f]{8}", name)


def test_a_profile_without_multiples_has_the_digest_of_earlier_releases() -> None:
    """Earlier releases had no `multiple_of`."""
    plain = to_json(Settings(trt_profile=ProfileSettings(profiles=({"seq_len": RangeSettings(4, 8, 16)},))))
    assert relevant(plain)["trt_profile"]["profiles"] == [{"seq_len": {"min": 4, "opt": 8, "max": 16}}]
    plain["trt_profile"]["profiles"][0]["seq_len"]["multiple_of"] = 4
    assert relevant(plain)["trt_profile"]["profiles"][0]["seq_len"]["multiple_of"] == 4
