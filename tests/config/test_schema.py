"""The derived schema has the shape of the settings, and no conversion loses data."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from omegaconf import OmegaConf

from cosybuild.config.parse import settings_from_plain
from cosybuild.config.schema import mutable
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.system.typed_json import to_json
from tests.config.composing import settings_of


def settings_classes() -> list[type]:
    """Yield Settings and every settings class below it."""
    found: list[type] = []

    def visit(hint: typing.Any) -> None:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint not in found:
            found.append(hint)
            for inner in typing.get_type_hints(hint).values():
                visit(inner)
        for argument in typing.get_args(hint):
            visit(argument)

    visit(Settings)
    return found


@pytest.mark.parametrize("cls", settings_classes(), ids=lambda cls: cls.__name__)
def test_every_setting_is_frozen_documented_and_in_the_schema(cls: type) -> None:
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.__doc__
    fields = dataclasses.fields(cls)
    assert [f.name for f in dataclasses.fields(mutable(cls))] == [f.name for f in fields]
    for field in fields:
        words = field.metadata.get("help", "")
        assert words.endswith("."), f"{cls.__name__}.{field.name} needs a sentence of documentation"


def test_defaults_of_the_schema_equal_those_of_the_settings() -> None:
    plain = OmegaConf.to_container(OmegaConf.structured(mutable(Settings)), resolve=True)
    assert settings_from_plain(plain) == Settings()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("export=opset23", "simplify=none", "verify=upstream", "store=off"),
        ("trt_profile=batch16", "model.streaming=true"),
        ("trt_profile.profiles=[{seq_len: {min: 1 s, opt: 2 s, max: 60 s}}, {seq_len: {min: 4, opt: 4, max: 9}}]",),
    ],
)
def test_settings_are_equal_after_conversion_to_plain_data_and_back(overrides: tuple[str, ...]) -> None:
    settings = settings_of(*overrides)
    assert settings_from_plain(to_json(settings)) == settings


def test_an_unknown_setting_after_a_plus_sign_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'colour' is not a setting of export; it has: opset"):
        settings_of("+export.colour=red")


def test_a_value_missing_inside_a_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"trt_profile\.profiles\[0\]\.seq_len\.max is mandatory"):
        settings_of("trt_profile.profiles=[{seq_len: {min: 1, opt: 2}}]")
