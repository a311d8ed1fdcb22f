"""What artifacts are called: the names that runtimes look for (docs/contract.md)."""

from __future__ import annotations

from cosybuild.models.subject import Subject


def artifact_name(subject: Subject, precision: str = "fp32", suffix: str = ".onnx", dynamic_batch: bool = False) -> str:
    """Stem, then `streaming`, the precision and `dynamic_batch`, then the suffix.

    Args:
        subject: gives the stem and whether it is the streaming variant.
        precision: `fp32`, or what a lowering calls its result, e.g. `autocast_fp16`.
        suffix: with its leading dot, e.g. `.onnx` or `.mygpu.plan`.
        dynamic_batch: whether the batch axis varies.
    """
    parts = [
        subject.stem,
        "streaming" if subject.streaming else "",
        precision,
        "dynamic_batch" if dynamic_batch else "",
    ]
    return ".".join(part for part in parts if part) + suffix
