"""The artifacts of joint builds of tiny voices, made without a build: exported graphs with the manifests of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from cosybuild.identity import build_of
from cosybuild.manifest import read_manifest
from cosybuild.runtime.voice.parts import COMPONENTS, part_in_voice
from tests.runtime.voice.services import edit

FULL = ("flow.frontend.fp32.onnx", "flow.decoder.estimator.fp32.onnx", "hift.fp32.onnx")
FRONT_END, ESTIMATOR, VOCODER = FULL
STREAMING = tuple(name.replace(".fp32", ".streaming.fp32") for name in FULL[:2])


def run_of(source: Path, target: Path, *, flow: str = "", vocoder: str = "", streaming: bool = False) -> Path:
    """Copy the parts of a voice as the artifacts of one joint build.

    Args:
        source: a directory with exported parts.
        flow, vocoder: one digit that identifies other weights of that file; an empty text for the weights of the
            source. The graphs stay the same, except for their names of producers.
        streaming: True for front end and estimator with streaming attention.
    """
    target.mkdir()
    names = (*STREAMING, VOCODER) if streaming else FULL
    weights = {}
    for name in names:
        for suffix in ("", ".manifest.json"):
            shutil.copy(source / f"{name}{suffix}", target / f"{name}{suffix}")
        change = vocoder if name == VOCODER else flow
        if change:
            mark(target / name, change)
        manifest = read_manifest(target / name)
        assert manifest is not None
        weights[COMPONENTS[str(part_in_voice(manifest)[0])]] = build_of(manifest).weights
    for name in names:
        edit(target / name, lambda manifest: manifest.update(voice=weights))
    return target


def mark(graph: Path, digit: str) -> None:
    """Give a graph other bytes and its manifest other weights."""
    content = graph.read_bytes()
    # Field 2 of a model is the name of the producer; the last of several values counts.
    graph.write_bytes(content + b"\x12\x01" + digit.encode())
    edit(graph, lambda manifest: manifest["model"].update(weights_digest=digit * 64))
