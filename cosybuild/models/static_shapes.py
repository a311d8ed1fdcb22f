"""Replace dynamic axes by fixed sizes, for targets that accept only static shapes (NPUs, CoreML)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosybuild.config.groups.model import Family
from cosybuild.errors import ConfigurationError
from cosybuild.models.dimension import with_sizes
from cosybuild.models.shape_profile import BATCH
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.subject import Subject


def with_static_shapes(subject: Subject, static: Mapping[str, int]) -> Subject:
    """Return a copy of the subject with fixed sizes in place of some dynamic axes.

    The sizes become part of the names of artifacts, e.g. `seq_len500`.

    Args:
        subject: the resolved model.
        static: symbol of the axis -> size, the setting `export.static`.

    Raises:
        ConfigurationError: the model has no such dynamic axis, the size of an output is computed from several axes, or
            the model is an existing ONNX file, which is not exported.
    """
    if subject.family is Family.onnx or subject.graph is not None:
        raise ConfigurationError(
            "export.static has no effect on an existing graph, which is not exported.",
            hint="Next: remove export.static; python -m onnxruntime.tools.make_dynamic_shape_fixed fixes its axes.",
        )
    spec = subject.spec
    for axis in static:
        if axis not in spec.symbols:
            raise ConfigurationError(
                f"export.static gives a size for the axis '{axis}', which is not dynamic in this model "
                f"(dynamic axes: {', '.join(spec.symbols) or 'none'}).",
                hint="Next: name one of the model's dynamic axes, or remove export.static.",
            )
    named = {axis for tensor in spec.outputs for axis in tensor.dynamic_axes.values()} - set(spec.symbols)
    # An output of a module of the user may have an axis of its own, whose size the graph computes.
    computed = set() if subject.family is Family.module else named
    if computed:
        raise ConfigurationError(
            f"export.static is set, but the axis {', '.join(sorted(computed))} of an output is computed from several "
            f"axes of the inputs, so that the shapes of component={subject.component.value} cannot be fixed.",
            hint="Next: remove export.static, or build component=estimator with it.",
        )
    # Guidance needs pairs of rows, so the number of rows must be even.
    guidance = spec.guidance and static.get(BATCH, 2) % 2 == 0
    fixed = ModelSpec(
        inputs=tuple(_fixed(tensor, static) for tensor in spec.inputs),
        outputs=tuple(_fixed(tensor, static) for tensor in spec.outputs),
        guidance=guidance,
        frames_per_second=spec.frames_per_second,
        axes={name: axis for name, axis in spec.axes.items() if name not in static},
        norms=spec.norms,
    )
    words = tuple(f"{axis}{size}" for axis, size in sorted(static.items()))
    return replace(subject, spec=fixed, form=(*subject.form, *words))


def _fixed(tensor: TensorSpec, static: Mapping[str, int]) -> TensorSpec:
    return replace(tensor, shape=tuple(with_sizes(dim, static) for dim in tensor.shape))
