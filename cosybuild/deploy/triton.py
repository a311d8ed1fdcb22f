"""The config.pbtxt of a model in a Triton repository, made from the artifact's inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cosybuild.config.groups.deploy import InstanceKind, TritonSettings
from cosybuild.deploy.deliverable import GRAPH, Deliverable
from cosybuild.dtypes import DTYPES, FLOATS
from cosybuild.filename import is_plain_name


def model_name(item: Deliverable, settings: TritonSettings) -> str:
    """Return the name of the model's directory: `settings.model`, or the model's name and attention, joined by `_`."""
    if settings.model is not None:
        return settings.model
    name = item.model.get("name", "")
    if is_plain_name(name):
        return (f"{name}.streaming" if item.streaming else name).replace(".", "_")
    # Older manifests do not have the name.
    stem = str(item.path.name).split(".fp", 1)[0].split(".bf", 1)[0].split(".autocast", 1)[0].split(".mixed", 1)[0]
    return stem.removesuffix(".onnx").replace(".", "_")


def model_file(item: Deliverable) -> str:
    """Return the name of the file that the backend looks for in a version directory."""
    return "model.onnx" if item.kind == GRAPH else "model.plan"


def config_text(item: Deliverable, settings: TritonSettings, profile: Mapping[str, Sequence[int]]) -> str:
    """Return the text of the model's config.pbtxt.

    Where the batch axis is dynamic, tritonserver adds it to every shape and may join requests of equal
    length; an input that has no other axis (`t`) is then sent as (batch, 1). Where it is fixed, the
    shapes are the artifact's own, and no requests are joined.

    Args:
        profile: symbol -> min, opt, max: the sizes of the warm-up, and the largest batch.
    """
    batched = item.dynamic_batch
    largest = int(profile[_batch_symbol(item)][2]) if batched else 0
    lines = [
        f"name: {_quoted(model_name(item, settings))}",
        f'backend: "{"onnxruntime" if item.kind == GRAPH else "tensorrt"}"',
        f'default_model_filename: "{model_file(item)}"',
        f"max_batch_size: {largest}",
        *(line for port in item.inputs for line in _port("input", port, batched)),
        *(line for port in item.outputs for line in _port("output", port, batched)),
        "instance_group [ { "
        f"count: {settings.instances} kind: {'KIND_CPU' if settings.kind is InstanceKind.cpu else 'KIND_GPU'} }} ]",
        f"version_policy {{ specific {{ versions: [ {settings.version} ] }} }}",
    ]
    if batched:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_delay_us} }}")
    for label, index in (("shortest", 0), ("usual", 1), ("longest", 2)):
        sizes = {symbol: int(triple[index]) for symbol, triple in profile.items()}
        lines += _warmup(label, item.inputs, sizes, _batch_symbol(item) if batched else None)
    return "\n".join(lines) + "\n"


def _port(side: str, port: Mapping[str, Any], batched: bool) -> list[str]:
    dims = [axis if isinstance(axis, int) and axis >= 0 else -1 for axis in port["shape"]]
    body = f"name: {_quoted(port['name'])} data_type: {DTYPES[port['dtype']].triton}"
    if batched:
        dims = dims[1:]
    # Triton demands at least one axis; the reshape removes it before the backend.
    reshape = "" if dims else " reshape: { shape: [ ] }"
    return [f"{side} [ {{ {body} dims: [ {', '.join(map(str, dims or [1]))} ]{reshape} }} ]"]


def _warmup(label: str, inputs: Sequence[Mapping[str, Any]], sizes: Mapping[str, int], batch: str | None) -> list[str]:
    # A model whose batch axis tritonserver does not manage is warmed up by one request of the model's own shape.
    lines = [f'model_warmup [ {{ name: "{label}" batch_size: {sizes[batch] if batch else 1}']
    lengths = [size for symbol, size in sizes.items() if symbol != (batch or "batch")]
    usual = lengths[0] if lengths else 1
    for port in inputs:
        # An engine has -1, not a symbol, for a dynamic axis. A dynamic axis other than the batch is the length.
        axes = [axis if isinstance(axis, int) and axis >= 0 else sizes.get(axis, usual) for axis in port["shape"]]
        dims = axes[1 if batch else 0 :] or [1]
        # Random integers as indices would be outside the model's tables, and Triton could not load the model.
        values = "random_data" if port["dtype"] in FLOATS else "zero_data"
        data = f"data_type: {DTYPES[port['dtype']].triton} dims: [ {', '.join(map(str, dims))} ] {values}: true"
        lines.append(f"  inputs {{ key: {_quoted(port['name'])} value: {{ {data} }} }}")
    return [*lines, "} ]"]


def _quoted(text: str) -> str:
    """Return a string literal of the protobuf text format, because an imported ONNX file can contain any name."""
    return json.dumps(text)


def _batch_symbol(item: Deliverable) -> str:
    axis = item.inputs[0]["shape"][0]
    return axis if isinstance(axis, str) and axis else "batch"
