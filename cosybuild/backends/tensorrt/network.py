"""Parsing of an ONNX file into a network of TensorRT, with complete messages for parser errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.log import BuilderLog
from cosybuild.config.groups.trt import Typing
from cosybuild.errors import EngineError
from cosybuild.onnxgraph.external import unsafe_data

_DRIVER_NOISE = "[checkMacros.cpp::catchCudaError"


def create_network(library: TensorRtLibrary, builder: Any, typing: Typing) -> Any:
    """Create an empty network, with those flags that this version of the library has.

    TensorRT before 10 needs EXPLICIT_BATCH, TensorRT 10 ignores it, and later versions do not have it. STRONGLY_TYPED
    has an effect in TensorRT 10 only. Later versions of TensorRT do not have it, and their networks are always strongly
    typed. TensorRT-RTX has it, but its networks are always strongly typed too.
    """
    flags = 0
    names = ["EXPLICIT_BATCH"] + (["STRONGLY_TYPED"] if typing is Typing.strong else [])
    for name in names:
        member = library.member("NetworkDefinitionCreationFlag", name)
        if member is not None:
            flags |= 1 << int(member)
    return builder.create_network(flags)


def parse_into(library: TensorRtLibrary, network: Any, graph: Path, logger: Any, log: BuilderLog) -> Any:
    """Parse the ONNX file `graph` into `network`.

    Returns:
        The parser. It owns the weights, so it must be kept as long as the network.

    Raises:
        EngineError: the parser failed, or the graph's external data must not be read. The message has one paragraph for
            each parser error: node, operator, reason, name in the ONNX file, module path.
    """
    if (fault := unsafe_data(graph)) is not None:
        raise EngineError(
            f"{library.title} cannot read the ONNX graph:\n- {graph.name} {fault}",
            hint="Next: run the build that made it again.",
        )
    parser = library.module.OnnxParser(network, logger)
    # Pass the path, not the content, because weights may be stored in a file beside the graph.
    parsed = parser.parse_from_file(str(graph))
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if parsed and not errors:
        _let_attention_decompose(library, network)
        return parser
    told = [describe_error(error) for error in errors] or list(log.errors) or ["it gives no reason"]
    raise EngineError(
        f"{library.title} cannot read the ONNX graph:\n" + "\n".join(told),
        hint="Next: another export.opset or export.exporter may write other operators; with simplify=none, names are "
        "those of the exporter.",
    )


@contextmanager
def rearrange_heads(graph: Path, scratch: Path) -> Iterator[Path]:
    """Rewrite a graph so that q, k and v are split before the reshape to heads (see `onnxgraph.heads`).

    TensorRT and TensorRT-RTX optimise such a graph best.

    Yields:
        The path of a rewritten copy, which is deleted when the block ends; `graph` itself if nothing has to be
            rewritten.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no type stubs here

    from cosybuild.onnxgraph.files import load_model, load_structure, save_model
    from cosybuild.onnxgraph.heads import has_split_heads, split_columns

    try:
        found = has_split_heads(load_structure(graph))
    except DecodeError:  # the parser's error for an unreadable file is better
        found = False
    if not found:
        yield graph
        return
    with TemporaryDirectory(prefix="rearranged-", dir=scratch) as directory:
        model = load_model(graph)
        split_columns(model)
        path, *_ = save_model(model, Path(directory) / graph.name)
        del model
        yield path


def _let_attention_decompose(library: TensorRtLibrary, network: Any) -> None:
    """Allow the builder to replace ONNX's operator Attention by matrix products and softmax if it has no kernel for it.

    Otherwise the builder refuses the whole network, e.g. in float32 on sm_89. TensorRT before 10.14 has no attention
    layer; its parser replaces the operator itself.
    """
    wanted = library.member("LayerType", "ATTENTION_INPUT")
    if wanted is None:
        return
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type == wanted:
            # The bindings return every layer as its base class.
            layer.__class__ = library.module.IAttentionInputLayer
            layer.attention.decomposable = True


def describe_error(error: Any) -> str:
    """Return the paragraph of an error message for one parser error."""
    from cosybuild.onnxgraph.clean import module_path  # imports onnx

    reason = "; ".join(line for line in _field(error, "desc").splitlines() if not line.startswith(_DRIVER_NOISE))
    code = getattr(error.code(), "name", str(error.code()))
    checker = f"{_field(error, 'func')}, {_field(error, 'file')}:{_field(error, 'line')}"
    name, operator = _field(error, "node_name"), _field(error, "node_operator")
    if not operator:
        return f"- {code}: {reason} (in {checker})"
    module = module_path(name)
    inside = f", of the module '{module}'" if module else ""
    return f"- node {_field(error, 'node')} '{name}', operator {operator}{inside}: {code}: {reason} (in {checker})"


def network_tensors(network: Any) -> list[Any]:
    """Return the network's inputs, followed by its outputs. An engine binds them in this order."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    return inputs + [network.get_output(index) for index in range(network.num_outputs)]


@contextmanager
def fix_input_shapes(network: Any, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Set the inputs' shapes to fixed ones within a `with` block, and restore them afterwards.

    Within the block, the shape of every tensor of the network can be read.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    before = [tuple(tensor.shape) for tensor in inputs]
    for tensor in inputs:
        tensor.shape = shapes.get(tensor.name, tuple(tensor.shape))
    try:
        yield
    finally:
        for tensor, shape in zip(inputs, before, strict=True):
            tensor.shape = shape


def _field(error: Any, name: str) -> str:
    return str(getattr(error, name)())
