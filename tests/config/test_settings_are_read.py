"""Every setting has an effect: code of the build reads it, and does not only declare, check or copy it into a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

import cosybuild
from tests.config.reading import settings_read
from tests.config.test_schema import settings_classes

PACKAGE = Path(cosybuild.__file__).parent

CHECKED_ONLY = {
    "TrtSettings.precision": "It is there to be checked: what the option trt=fp16 stands for must be what is built.",
}
"""Settings that no code reads, each with the reason why it is permitted."""


def declares(path: Path) -> bool:
    """Return True for the settings themselves and for config/, which only checks and copies them."""
    return path.parent.name == "groups" or path.name == "settings.py"


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    found = PACKAGE.rglob("*.py")
    kept = [path for path in found if declares(path) or path.relative_to(PACKAGE).parts[0] != "config"]
    return {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in kept}


def unread(sources: Mapping[str, str]) -> list[str]:
    read = settings_read(sources)
    every = [(cls.__name__, field.name) for cls in settings_classes() for field in dataclasses.fields(cls)]
    return sorted(f"{cls}.{name}" for cls, name in every if (cls, name) not in read)


def test_every_setting_is_read_by_some_code(sources: dict[str, str]) -> None:
    assert unread(sources) == sorted(CHECKED_ONLY)


@pytest.mark.parametrize(
    ("path", "words", "instead", "setting"),
    [
        ("exporting/torch_exporters.py", "=settings.constant_folding", "=True", "ExportSettings.constant_folding"),
        ("models/user_module/declared.py", "tensor.generator", "GENERATORS[0]", "TensorSettings.generator"),
        ("stages/benchmark.py", '"warmup_seconds", ', "", "BenchmarkSettings.warmup_seconds"),
    ],
)
def test_a_setting_whose_reader_is_removed_is_named(
    sources: dict[str, str], path: str, words: str, instead: str, setting: str
) -> None:
    """The cases are an attribute, an attribute of a list's elements, and one that is read by its name."""
    assert words in sources[path]
    changed = sources[path].replace(words, instead)
    assert unread({**sources, path: changed}) == sorted([setting, *CHECKED_ONLY])
