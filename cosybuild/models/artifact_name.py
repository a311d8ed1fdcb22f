"""The names of artifacts, as runtimes expect them (docs/runtimes.md)."""

from __future__ import annotations

from cosybuild.models.subject import Subject


def artifact_name(subject: Subject, precision: str = "fp32", suffix: str = ".onnx", dynamic_batch: bool = False) -> str:
    """Return stem, words of `subject.form`, `streaming`, precision, `dynamic_batch` and suffix, joined by dots.

    Args:
        subject: gives the stem, the form, and whether the model is the streaming variant.
        precision: `fp32`, or the name that a lowering gives its result, e.g. `autocast_fp16`.
        suffix: with its leading dot, e.g. `.onnx` or `.mygpu.plan`.
        dynamic_batch: True if the batch axis varies.
    """
    parts = [
        subject.stem,
        *subject.form,
        "streaming" if subject.streaming else "",
        precision,
        "dynamic_batch" if dynamic_batch else "",
    ]
    return ".".join(part for part in parts if part) + suffix
