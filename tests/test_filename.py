"""A foreign name is accepted if it names a file in one directory, is printable, and is no option."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.config.groups.model import ModelSettings
from cosybuild.errors import ConfigurationError
from cosybuild.filename import is_plain_name, is_plain_path
from cosybuild.models.resolve import resolve_subject
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store

HOSTILE = {
    "absolute": "/any/path/x",
    "parent": "../x",
    "Windows parent": "..\\x",
    "drive": "C:x",
    "directory": "..",
    "empty": "",
    "newline": "a\nb",
    "NUL": "a\0b",
    "escape sequence": "a\x1b[31mb",
    "C1 control": "a\x9b31mb",
    "reversed": "a\u202egnp.exe",
    "invisible": "a\u200bb",
    "line separator": "a\u2028b",
    "half a character": "a\ud800b",
    "option": "-rf",
    "long": "n" * 256,
    "long in bytes": "店" * 90,
}


@pytest.mark.attack("deceive", "the name is refused")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_is_refused_by_every_reader(kind: str, tmp_path: Path) -> None:
    name = HOSTILE[kind]
    assert not is_plain_name(name)
    assert not is_plain_path(f"run/{name}")
    with pytest.raises(ConfigurationError, match=r"model\.name=.* cannot be part of a file name") as caught:
        resolve_subject(ModelSettings(name=name), None, False)
    assert caught.value.message.isprintable()
    store = Store(tmp_path / "store", remote=Remote(f"file://{tmp_path / 'remote'}"))
    for ask in (store.find, store.pull):
        with pytest.raises(ConfigurationError, match="A record names the step"):
            ask(CacheKey(name, {}))


@given(st.text(max_size=30) | st.text(alphabet="./\\:-\x1b\n\u202e a", max_size=8))
def test_a_plain_name_is_one_printable_part_of_a_path_on_every_system(name: str) -> None:
    if is_plain_name(name):
        assert PurePosixPath("/run", name).parts == ("/", "run", name)
        assert PureWindowsPath("C:/run", name).parts == ("C:\\", "run", name)
        assert not any(ord(char) < 32 for char in name)
        assert not name.startswith("-")


@pytest.mark.parametrize("name", ["flow.decoder.estimator", "zoë", "店", "..hidden", "a b", "x" * 128])
def test_an_ordinary_name_is_accepted(name: str) -> None:
    assert resolve_subject(ModelSettings(name=name), None, False).stem == name


def test_the_length_limit_leaves_room_for_suffixes() -> None:
    with pytest.raises(ConfigurationError, match="has 129 bytes, more than 128"):
        resolve_subject(ModelSettings(name="x" * 129), None, False)
