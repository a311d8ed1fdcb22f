"""A manifest is read only if its seal and form are right and it is small."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosybuild.cli import check
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy
from cosybuild.errors import ArtifactRefused, DeployError
from cosybuild.manifest import manifest_path, parse_manifest, read_manifest, seal_of, write_manifest
from cosybuild.runtime import load_estimator
from cosybuild.system.environment import Environment
from tests.deploy.delivering import estimator_shapes, put_graph

NAME = "flow.decoder.estimator.fp32.onnx"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    return put_graph(tmp_path / "artifacts" / NAME, estimator_shapes())


def edited(graph: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = False) -> None:
    """Edit the manifest as with a text editor; with `sealed`, write a seal that fits the edit."""
    manifest = json.loads(manifest_path(graph).read_text(encoding="utf-8"))
    change(manifest)
    if sealed:
        manifest["seal"] = seal_of(manifest)
    manifest_path(graph).write_text(json.dumps(manifest), encoding="utf-8")


def refused_everywhere(graph: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the runtime, a deployment and `check` refuse it with a readable message."""
    for trust in (False, True):
        with pytest.raises(ArtifactRefused, match=words):
            load_estimator(graph, trust=trust)
    settings = DeploySettings(service=Service.bundle, dir=str(graph.parents[1] / "service"))
    with pytest.raises(DeployError, match=words):
        deploy(graph.parent, settings, Environment(gpu_list=()))
    assert check.main([str(graph)]) == 5
    out = capsys.readouterr().out
    assert out.startswith(" damaged  ")
    assert out.isprintable() or out.count("\n") == 1


@pytest.mark.attack("forge", "the manifest is refused")
def test_a_manifest_that_was_edited_is_refused(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(graph, lambda manifest: manifest["model"].update(streaming=True))
    refused_everywhere(graph, "does not match its seal", capsys)


@pytest.mark.attack("forge", "the manifest is refused")
def test_a_manifest_without_a_seal_is_refused(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(graph, lambda manifest: manifest.pop("seal"))
    refused_everywhere(graph, "has no seal.*Run the same build again", capsys)


def test_a_seal_does_not_depend_on_order_and_blanks(graph: Path) -> None:
    before = read_manifest(graph)
    manifest_path(graph).write_text(json.dumps(dict(reversed((before or {}).items()))), encoding="utf-8")
    assert read_manifest(graph) == before


def test_a_seal_does_not_depend_on_the_types_that_json_changes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    write_manifest(path, {"odd": (1, 2.5, float("inf"), None), "path": tmp_path, "text": "é \udc80 \u202e"})
    manifest = read_manifest(path)
    assert manifest is not None
    assert manifest["odd"] == [1, 2.5, "Infinity", None]


def text_of(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda graph: edited(graph, change, sealed=True)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda graph: manifest_path(graph).write_bytes(data)


MALFORMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text for an object": (text_of(lambda m: m.update(model="cosyvoice2")), r"model is 'cosyvoice2'; dict is expected"),
    "text for a truth value": (text_of(lambda m: m["model"].update(streaming="true")), "model.streaming is 'true'"),
    "a list for an object": (text_of(lambda m: m.update(file=[])), r"file is \[\]; a plain file name"),
    "an object for a list": (text_of(lambda m: m.update(companions={})), r"companions is \{\}; a list"),
    "a list among the ports": (
        text_of(lambda m: m["interface"]["inputs"].append([])),
        r"interface.inputs\[6\] is \[\]",
    ),
    "a number for a reason": (text_of(lambda m: m.update(pending=[7])), r"pending is \[7\]; a list of text"),
    "part of an engine's facts": (text_of(lambda m: m.update(built_for={"sm": 89})), "built_for.flavour is missing"),
    "a number for the inputs": (text_of(lambda m: m["model"].update(inputs=5)), "model.inputs is 5; list"),
    "an input without a name": (
        text_of(lambda m: m["model"].update(inputs=[{"range": [0, 3]}])),
        r"model.inputs\[0\] is .*a name, and for indices a range",
    ),
    "a range of text": (
        text_of(lambda m: m["model"].update(inputs=[{"name": "token", "range": ["a", "b"]}])),
        r"model.inputs\[0\] is .*a range of two integers",
    ),
    "a range of one number": (
        text_of(lambda m: m["model"].update(inputs=[{"name": "token", "range": [1]}])),
        r"model.inputs\[0\] is .*a range of two integers",
    ),
    "a negative size": (text_of(lambda m: m["file"].update(size=-1)), "file is .*a plain file name, a size"),
    "a path for a name": (
        text_of(lambda m: m["companions"].append({**m["file"], "name": "../../etc/passwd"})),
        r"companions\[0\] is .*a plain file name",
    ),
    "a NUL in a name": (text_of(lambda m: m["file"].update(name="a\0b")), "file is .*a plain file name"),
    "another schema": (
        content(b'{"format": "cosybuild.artifact", "version": 99}'),
        "has version 99; this program reads",
    ),
    "another format": (content(b'{"format": "other"}'), "not a manifest of an artifact"),
    "a huge number": (content(b'{"format": "cosybuild.artifact", "version": 1' + b"0" * 5000 + b"}"), "is not JSON"),
    "an endless number": (text_of(lambda m: m["file"].update(size=float("inf"))), "file is .*a plain file name"),
    "deep nesting": (content(b"[" * 100_000), "nested too deeply"),
    "nesting that just can be read": (
        content(b'{"format": "cosybuild.artifact", "version": 1, "x": ' + b"[" * 400 + b"]" * 400 + b"}"),
        "nested too deeply",
    ),
    "cut off": (lambda g: manifest_path(g).write_bytes(manifest_path(g).read_bytes()[:-20]), "is not JSON"),
    "not UTF-8": (content(b'{"format": "\xff"}'), "not UTF-8 at byte 12"),
    "larger than any": (lambda g: os.truncate(manifest_path(g), 1 << 30), "a regular file of at most"),
    "a directory": (lambda g: (manifest_path(g).unlink(), manifest_path(g).mkdir()), "a regular file of at most"),
}


@pytest.mark.attack("malformed", "the manifest is refused")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_manifest_is_refused_with_a_sentence(
    graph: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, words = MALFORMED[name]
    spoil(graph)
    refused_everywhere(graph, words, capsys)


@pytest.mark.attack("fill or wait", "the manifest is refused, at once")
@pytest.mark.skipif(os.name != "posix", reason="a pipe as a file")
def test_a_pipe_in_place_of_a_manifest_does_not_block(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest_path(graph).unlink()
    os.mkfifo(manifest_path(graph))
    refused_everywhere(graph, "a regular file of at most", capsys)


def test_a_manifest_of_a_stage_without_a_seal_is_still_read(graph: Path) -> None:
    edited(graph, lambda manifest: manifest.pop("seal"))
    assert parse_manifest(manifest_path(graph)) is not None
