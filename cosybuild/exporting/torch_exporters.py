"""One function for both ONNX exporters of torch. torch is imported only when a function is called."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.errors import ExportError
from cosybuild.models.shape_profile import Profile, admits
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Draw, draw_inputs

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto
    from torch import nn

# Loggers of the exporters, which are silenced.
_LOGGERS = ("torch", "torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir")

# The sizes of the traced example are small odd primes, which are rarely factors of a model's fixed sizes.
_EXAMPLE_SIZES = (23, 29, 31, 37, 41, 43, 47, 53, 59, 61)


@dataclass
class ExporterWarnings:
    """The warnings of an exporter about the model.

    Attributes:
        warnings: one line for each warning. Warnings about the exporter itself, such as deprecations, are left out.
    """

    warnings: list[str] = field(default_factory=list)


def example_sizes(spec: ModelSpec, stated: Mapping[str, int], profiles: Sequence[Profile]) -> dict[str, int]:
    """Return the size of every dynamic axis in the example that the exporter traces.

    Sizes that the user does not state are chosen inside a profile. They are at least 2, and differ from each other and
    from all fixed sizes if the profile allows that. If two sizes were equal by chance, the exporter might treat them as
    always equal.

    Args:
        spec: the inputs and outputs.
        stated: the sizes that the user states, by symbol (the setting `export.example_sizes`).
        profiles: the profiles of the build; empty for none.
    """
    fixed = {size for tensor in (*spec.inputs, *spec.outputs) for size in tensor.shape if isinstance(size, int)}
    free = (size for size in _EXAMPLE_SIZES if size not in fixed | set(stated.values()))
    sizes = {symbol: stated[symbol] if symbol in stated else next(free) for symbol in spec.symbols}
    unstated = [symbol for symbol in spec.symbols if symbol not in stated]
    if admits(profiles, {symbol: sizes[symbol] for symbol in unstated}):
        return sizes
    taken = fixed | set(stated.values())
    for symbol in unstated:
        within = profiles[0][symbol]
        others = range(within.min, within.max + 1, within.multiple_of)
        several = (size for size in (*_EXAMPLE_SIZES, *others) if within.holds(size) and size not in {0, 1, *taken})
        sizes[symbol] = next(several, within.opt)
        taken.add(sizes[symbol])
    return sizes


def export_graph(
    module: nn.Module, spec: ModelSpec, settings: ExportSettings, sizes: Mapping[str, int]
) -> tuple[ModelProto, ExporterWarnings]:
    """Export a module, and return the exporter's unchanged graph with its weights in memory, and the warnings.

    Args:
        module: a module in evaluation mode whose `forward` takes the inputs of `spec` by position.
        spec: the inputs and outputs.
        settings: the settings of the group `export`.
        sizes: the size of each dynamic axis in the example that is traced, by symbol.

    Raises:
        ExportError: the exporter failed. The message contains the first line of the innermost cause.
    """
    import torch

    example = tuple(example_inputs(spec, sizes))
    write = _torchscript if settings.exporter is Exporter.torchscript else _dynamo
    with _quiet() as found, torch.no_grad(), _plain_operators():
        try:
            model = write(module, example, spec, settings)
        except _refusals() as error:
            raise ExportError(
                f"torch's {settings.exporter.value} exporter cannot export {type(module).__name__} at opset "
                f"{settings.opset} (example sizes {sizes or 'fixed'}): {meaningful_line(error)}",
                hint=_hint(settings),
            ) from error
    return model, found


def meaningful_line(error: BaseException) -> str:
    """Return the type and the first line of the innermost cause of an error. The exporters add pages of text to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _torchscript(
    module: nn.Module, example: tuple[torch.Tensor, ...], spec: ModelSpec, settings: ExportSettings
) -> ModelProto:
    import onnx
    import torch

    from cosybuild.exporting.deferred_weights import attach_weights, deferred_weights
    from cosybuild.onnxgraph.scopes import qualify_names

    message = io.BytesIO()
    with deferred_weights() as weights:
        torch.onnx.export(
            module,
            example,
            message,  # type: ignore[arg-type]  # this exporter also takes a stream
            dynamo=False,
            opset_version=settings.opset,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_axes={tensor.name: tensor.dynamic_axes for tensor in (*spec.inputs, *spec.outputs)},
            do_constant_folding=settings.constant_folding,
        )
    model = onnx.load_model_from_string(message.getvalue())
    attach_weights(model, weights)
    qualify_names(model, (name for name, _ in module.named_modules() if name))
    return model


def _dynamo(
    module: nn.Module, example: tuple[torch.Tensor, ...], spec: ModelSpec, settings: ExportSettings
) -> ModelProto:
    import torch

    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=settings.opset,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        dynamic_shapes=_dynamic_shapes(module, spec),
        optimize=settings.constant_folding,
        verbose=False,
    )
    assert program is not None
    model: ModelProto = program.model_proto
    return model


def _dynamic_shapes(module: nn.Module, spec: ModelSpec) -> tuple[Any, ...]:
    """Return the dynamic axes for torch.export: one mapping of axis -> name for each parameter of `forward`.

    If `forward` has the parameter `*args`, the mappings are nested in one more tuple, as torch.export requires.
    """
    from torch.export import Dim

    # torch.export finds sizes that are sums of other sizes, such as `past + 1`, by itself.
    shapes = tuple(
        {axis: dim if dim.isidentifier() else Dim.AUTO for axis, dim in tensor.dynamic_axes.items()}
        for tensor in spec.inputs
    )
    kinds = {parameter.kind for parameter in inspect.signature(module.forward).parameters.values()}
    return (shapes,) if inspect.Parameter.VAR_POSITIONAL in kinds else shapes


def example_inputs(spec: ModelSpec, sizes: Mapping[str, int]) -> Iterator[torch.Tensor]:
    """Yield a tensor with random test values for each input, with the given size for each dynamic axis."""
    from cosybuild.backends.torch_backend import tensor_from_array

    for array in draw_inputs(spec, Draw(sizes)).values():
        yield tensor_from_array(array)


@contextmanager
def _plain_operators() -> Iterator[None]:
    """Turn off torch's fused encoder layer in the `with` block, because ONNX has no such operator."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def _quiet() -> Iterator[ExporterWarnings]:
    """Suppress the exporters' output in the `with` block, and collect their warnings about the model."""
    found = ExporterWarnings()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stdout(io.StringIO()):
            warnings.simplefilter("always")
            yield found
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    found.warnings.extend(dict.fromkeys(_about_the_model(caught)))


def _about_the_model(caught: Sequence[warnings.WarningMessage]) -> Iterator[str]:
    from torch.jit import TracerWarning  # type: ignore[attr-defined]  # public, but not listed as exported

    for warning in caught:
        own = "/torch/" in Path(warning.filename).as_posix() or issubclass(
            warning.category, (DeprecationWarning, FutureWarning)
        )
        if issubclass(warning.category, TracerWarning) or not own:
            yield " ".join(str(warning.message).split())


def _refusals() -> tuple[type[Exception], ...]:
    """Return the types of exceptions that the exporters raise, or a user's module while an exporter runs it."""
    import torch._dynamo.exc

    return (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ArithmeticError,
            torch._dynamo.exc.TorchDynamoException)  # fmt: skip


def _hint(settings: ExportSettings) -> str:
    other = Exporter.dynamo if settings.exporter is Exporter.torchscript else Exporter.torchscript
    return (
        f"Next: try export.exporter={other.value}, or name sizes the model takes with "
        "export.example_sizes={seq_len: 64}."
    )
