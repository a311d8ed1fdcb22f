"""Entries as bytes: reading returns what was written, and false entries are refused."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.filename import is_plain_name
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.entry import DamagedEntry, Entry, decode, encode, is_digest
from cosybuild.store.key import CacheKey

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(min_size=1, max_size=40).filter(is_plain_name)
DIGESTS = st.binary(max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())


def locate(digest: str) -> Path:
    return Path("/store") / digest


@st.composite
def artifacts(draw: st.DrawFn, slot: str) -> Artifact:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    files = []
    for name in names:
        digest = draw(DIGESTS)
        files.append(StoredFile(name, locate(digest), digest, draw(st.integers(0, 2**50))))
    return Artifact(slot, tuple(files))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    key = CacheKey(draw(NAMES), draw(st.dictionaries(TEXT, TEXT, max_size=5)))
    slots = draw(st.lists(TEXT, max_size=3, unique=True))
    outputs = {slot: draw(artifacts(slot)) for slot in slots}
    return Entry(key, outputs, draw(st.dictionaries(TEXT, JSON)), draw(st.dictionaries(TEXT, JSON)))


@given(entries())
def test_an_entry_is_equal_after_encoding_and_decoding(entry: Entry) -> None:
    assert decode(encode(entry), entry.key.digest, locate) == entry


@pytest.mark.attack("forge", "the entry is refused")
@given(entries(), st.data())
def test_a_changed_byte_has_no_effect_or_is_refused(entry: Entry, data: st.DataObject) -> None:
    right = encode(entry)
    offset = data.draw(st.integers(0, len(right) - 1))
    byte = data.draw(st.integers(0, 255))
    wrong = right[:offset] + bytes([byte]) + right[offset + 1 :]
    try:
        assert decode(wrong, entry.key.digest, locate) == entry
    except DamagedEntry:
        assert wrong != right


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_an_entry_or_the_one_error(data: bytes) -> None:
    with pytest.raises(DamagedEntry):
        decode(data, "0" * 64, locate)


def test_figures_that_are_not_finite_are_kept() -> None:
    entry = Entry(CacheKey("verify", {}), {}, {"worst": math.inf, "mean": math.nan}, {})
    metrics = decode(encode(entry), entry.key.digest, locate).metrics
    assert metrics == {"worst": "Infinity", "mean": "NaN"}


def forged(**changes: Any) -> tuple[bytes, str]:
    """Return an entry with a right checksum and a wrong member, as an attacker would send it."""
    key = CacheKey("export", {"settings.opset": "18"})
    file = {"name": "graph.onnx", "digest": "a" * 64, "size": 1}
    body = {
        "format": 1,
        "stage": key.stage,
        "parts": dict(key.parts),
        "outputs": {"graph": [file]},
        "metrics": {},
        "made": {},
    }
    for name, value in changes.items():
        if name in file:
            file[name] = value
        else:
            body[name] = value
    text = json.dumps(body, sort_keys=True).encode()
    return json.dumps({"sha256": hashlib.sha256(text).hexdigest(), "entry": body}).encode(), key.digest


def test_an_entry_that_the_forger_does_not_change_is_accepted() -> None:
    assert decode(*forged(), locate).outputs["graph"].path == locate("a" * 64)


@pytest.mark.attack("forge", "the entry is refused")
@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": True},
        {"format": "1"},
        {"stage": "simplify"},
        {"stage": 1},
        {"parts": {"settings.opset": "17"}},
        {"parts": {"settings.opset": 18}},
        {"parts": []},
        {"outputs": []},
        {"outputs": {"graph": []}},
        {"outputs": {"graph": {}}},
        {"outputs": {"graph": ["a"]}},
        {"outputs": {"graph": [{"name": "a", "digest": "a" * 64, "size": 1}] * 2}},
        {"metrics": []},
        {"made": None},
        *({"name": name} for name in ("../up", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "a\0b", "x" * 256, 1)),
        *({"digest": digest} for digest in ("../../etc/passwd", "A" * 64, "a" * 63, "", 1, "a" * 63 + "/")),
        *({"size": size} for size in (-1, 1.5, "1", True, None)),
    ],
    ids=str,
)
def test_a_forged_entry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedEntry):
        decode(*forged(**changes), locate)


@pytest.mark.attack("malformed", "the entry is refused")
@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"entry": ' * 50_000, b"9" * 5000, b"", b"null", b"\xff\xfe"])
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedEntry):
        decode(data, "0" * 64, locate)


def test_names_and_digests_are_recognised() -> None:
    assert is_plain_name("flow.decoder ü 店.onnx")
    assert is_plain_name("..hidden")
    assert is_digest("0123456789abcdef" * 4)
    assert not is_digest("\u0660" * 64)
