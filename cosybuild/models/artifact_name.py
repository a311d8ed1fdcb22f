"""The names of artifacts, as runtimes expect them (docs/runtimes.md)."""

from __future__ import annotations

from cosybuild.config.groups.model import ModelSettings
from cosybuild.errors import ConfigurationError
from cosybuild.filename import fault_of
from cosybuild.models.subject import Subject
from cosybuild.models.variant import CACHED

_LONGEST_STEM = 128
"""The largest number of bytes of the stem, which is the first part of an artifact's file name."""


def artifact_name(subject: Subject, precision: str = "fp32", suffix: str = ".onnx", dynamic_batch: bool = False) -> str:
    """Return the file name of an artifact, e.g. `flow.decoder.estimator.streaming.fp32.onnx`.

    The name joins these words by dots: the stem, the words of `subject.form`, `streaming`, the precision,
    `dynamic_batch` and the suffix. Words that do not apply are left out. The cached variant is always streaming, so
    its name has no word `streaming`.

    Args:
        subject: the model. Its stem, its form and its attention variant become words of the name.
        precision: `fp32`, or the name that a lowering gives its result, e.g. `autocast_fp16`.
        suffix: with its leading dot, e.g. `.onnx` or `.mygpu.plan`.
        dynamic_batch: True if the batch axis has a dynamic size.
    """
    parts = [
        subject.stem,
        *subject.form,
        "streaming" if subject.streaming and CACHED not in subject.form else "",
        precision,
        "dynamic_batch" if dynamic_batch else "",
    ]
    return ".".join(part for part in parts if part) + suffix


def artifact_stem(model: ModelSettings, otherwise: str) -> str:
    """Return the stem, the first part of the file name of every artifact of a model, e.g. `encoder` of `encoder.onnx`.

    Args:
        model: the settings of the group `model`; `model.name` is the stem if it is set.
        otherwise: the stem if `model.name` is not set.

    Raises:
        ConfigurationError: the stem cannot be part of a file name.
    """
    stem = otherwise if model.name is None else model.name
    if (fault := fault_of(stem, _LONGEST_STEM)) is not None:
        which = "The model's own name" if model.name is None else "model.name"
        raise ConfigurationError(
            f"{which}={stem!a} cannot be part of a file name: it {fault}.",
            hint="Next: model.name=NAME with a plain name, such as `estimator`.",
        )
    return stem
