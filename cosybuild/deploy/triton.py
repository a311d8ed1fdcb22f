"""The name, the file and the config.pbtxt of one network in a Triton repository."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cosybuild.config.groups.deploy import InstanceKind, TritonSettings
from cosybuild.deploy.deliverable import GRAPH, Deliverable
from cosybuild.dtypes import DTYPES, FLOATS
from cosybuild.filename import is_plain_name
from cosybuild.identity import CACHED_ESTIMATOR, CACHED_FRONT_END, part_of
from cosybuild.models.dimension import size_of, symbols_of
from cosybuild.models.shape_profile import BATCH

Port = Mapping[str, Any]


def model_name(item: Deliverable, settings: TritonSettings) -> str:
    """Return the name of the model's directory in the repository.

    Args:
        item: the artifact.
        settings: the settings for Triton. If `model` is not set, the name is made of the name and the variant of the
            artifact's model, joined by `_`.
    """
    if settings.model is not None:
        return settings.model
    name = item.model.get("name", "")
    if is_plain_name(name):
        is_cached = part_of(item.path.name, item.manifest) in (CACHED_ESTIMATOR, CACHED_FRONT_END)
        variant = ".cached" if is_cached else ".streaming" if item.streaming else ""
        return f"{name}{variant}".replace(".", "_")
    # Older manifests do not have the name.
    stem = str(item.path.name).split(".fp", 1)[0].split(".bf", 1)[0].split(".autocast", 1)[0].split(".mixed", 1)[0]
    return stem.removesuffix(".onnx").replace(".", "_")


def model_file(item: Deliverable) -> str:
    """Return the name of the file that Triton's backend looks for in a version directory."""
    return "model.onnx" if item.kind == GRAPH else "model.plan"


def config_text(item: Deliverable, settings: TritonSettings, profile: Mapping[str, Sequence[int]]) -> str:
    """Return the text of the model's config.pbtxt.

    If the axis `batch` is the first of every input and output, tritonserver adds it to every shape and may join
    requests of equal length. An input that has no other axis (`t`) is then sent as (batch, 1). In any other model the
    shapes are the artifact's own, and no requests are joined: the first axis can be a length, and rows of different
    requests in one call would change each other's results.

    Args:
        item: the artifact.
        settings: the settings for Triton.
        profile: axis -> min, opt and max. They give the sizes of the warm-up and the largest batch.
    """
    inputs, outputs = (_named(item, side, profile) for side in ("inputs", "outputs"))
    batched = _is_batched(inputs, outputs, profile)
    largest = int(profile[BATCH][2]) if batched else 0
    lines = [
        f"name: {_quoted(model_name(item, settings))}",
        f'backend: "{"onnxruntime" if item.kind == GRAPH else "tensorrt"}"',
        f'default_model_filename: "{model_file(item)}"',
        f"max_batch_size: {largest}",
        *(line for port in inputs for line in _port("input", port, batched)),
        *(line for port in outputs for line in _port("output", port, batched)),
        "instance_group [ { "
        f"count: {settings.instances} kind: {'KIND_CPU' if settings.kind is InstanceKind.cpu else 'KIND_GPU'} }} ]",
        f"version_policy {{ specific {{ versions: [ {settings.version} ] }} }}",
    ]
    if batched:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_delay_us} }}")
    for label, index in (("shortest", 0), ("usual", 1), ("longest", 2)):
        sizes = {symbol: int(triple[index]) for symbol, triple in profile.items()}
        lines += _warmup(label, inputs, sizes, batched)
    return "\n".join(lines) + "\n"


def _named(item: Deliverable, side: str, profile: Mapping[str, Sequence[int]]) -> list[Port]:
    """Return the inputs or outputs, in which dynamic axes have the names that the profile uses, if these are known.

    In an engine, a dynamic axis is -1. An ONNX file can have another name for it, such as `batch-size`.
    """
    declared = {port["name"]: port["shape"] for port in item.model.get(side) or ()}
    found: list[Port] = []
    for port in item.inputs if side == "inputs" else item.outputs:
        shape, stated = list(port["shape"]), declared.get(port["name"], ())
        if len(stated) == len(shape):
            shape = [_axis(own, name) for own, name in zip(shape, stated, strict=True)]
        elif shape and shape[0] == -1 and BATCH in profile:
            shape[0] = BATCH
        found.append({**port, "shape": shape})
    return found


def _axis(own: int | str, stated: int | str) -> int | str:
    return own if isinstance(own, int) and own >= 0 else stated


def _is_batched(inputs: Sequence[Port], outputs: Sequence[Port], profile: Mapping[str, Sequence[int]]) -> bool:
    """Return True if `batch` is the first axis of every input and output, and no other axis depends on it."""
    ports = (*inputs, *outputs)
    return BATCH in profile and all(
        port["shape"][:1] == [BATCH] and not any(BATCH in symbols_of(axis) for axis in port["shape"][1:])
        for port in ports
    )


def _port(side: str, port: Port, batched: bool) -> list[str]:
    dims = [axis if isinstance(axis, int) and axis >= 0 else -1 for axis in port["shape"]]
    body = f"name: {_quoted(port['name'])} data_type: {DTYPES[port['dtype']].triton}"
    if batched:
        dims = dims[1:]
    # Triton demands at least one axis; the reshape removes it before the backend.
    reshape = "" if dims else " reshape: { shape: [ ] }"
    return [f"{side} [ {{ {body} dims: [ {', '.join(map(str, dims or [1]))} ]{reshape} }} ]"]


def _warmup(label: str, inputs: Sequence[Port], sizes: Mapping[str, int], batched: bool) -> list[str]:
    # A model whose batch axis tritonserver does not manage is warmed up by one request of the model's own shape.
    lines = [f'model_warmup [ {{ name: "{label}" batch_size: {sizes[BATCH] if batched else 1}']
    for port in inputs:
        dims = [_size(axis, sizes) for axis in port["shape"][1 if batched else 0 :]] or [1]
        # Random integers as indices would be outside the model's tables, and Triton could not load the model.
        values = "random_data" if port["dtype"] in FLOATS else "zero_data"
        data = f"data_type: {DTYPES[port['dtype']].triton} dims: [ {', '.join(map(str, dims))} ] {values}: true"
        lines.append(f"  inputs {{ key: {_quoted(port['name'])} value: {{ {data} }} }}")
    return [*lines, "} ]"]


def _size(axis: int | str, sizes: Mapping[str, int]) -> int:
    """Return the size of an axis. An unnamed axis gets the size of the profile's first axis other than `batch`."""
    if axis == -1 or not set(symbols_of(axis)) <= sizes.keys():
        return next((size for symbol, size in sizes.items() if symbol != BATCH), 1)
    return size_of(axis, sizes)


def _quoted(text: str) -> str:
    """Return a text as a string literal of the protobuf text format. An imported ONNX file can contain any name."""
    return json.dumps(text)
