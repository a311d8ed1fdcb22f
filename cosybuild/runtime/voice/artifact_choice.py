"""The choice of one artifact for each part of a voice, from `forms`, the argument of `load_voice`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cosybuild.errors import ArtifactRefused, ServingError
from cosybuild.runtime.voice.parts import COMPONENTS, FORM_NAMES, Graph

Chosen = dict[tuple[str, bool], Graph]
"""(part, True for streaming attention) -> the chosen artifact."""


def check_forms(forms: Mapping[str, str]) -> None:
    """Check the argument `forms` of `load_voice`: a mapping from the names of parts to text.

    Raises:
        ServingError: `forms` is not a mapping, a key is not the name of a part, or a value is not text.
    """
    if not isinstance(forms, Mapping):
        raise ServingError(f"forms={forms!r}; a mapping such as {{'estimator': 'lowered'}} is expected.")
    for component, form in forms.items():
        if component not in COMPONENTS.values():
            raise ServingError(f"forms has the part {component!r}; {', '.join(COMPONENTS.values())} are expected.")
        if not isinstance(form, str):
            raise ServingError(f"forms[{component!r}] is {form!r}; {', '.join(FORM_NAMES)} or a file name is expected.")


def choose(root: Path, found: Sequence[Graph], forms: Mapping[str, str]) -> Chosen:
    """Choose one artifact for each pair of a part and an attention variant.

    Args:
        root: the directory, for messages.
        found: the artifacts, the preferred ones first.
        forms: the forms or file names that the caller asks for; see `load_voice`.

    Raises:
        ArtifactRefused: the directory has no artifact of a form that was asked for.
    """
    chosen: Chosen = {}
    for key in dict.fromkeys(graph.key for graph in found):
        candidates = [graph for graph in found if graph.key == key]
        part, form = key[0], forms.get(COMPONENTS.get(key[0], ""))
        if form in FORM_NAMES:
            fitting = [graph for graph in candidates if graph.form == form]
        elif form is not None and any(graph.name == form for graph in found if graph.part == part):
            # A file is of one attention variant; for the other variant, the default is chosen.
            fitting = [graph for graph in candidates if graph.name == form] or _default(candidates)
        else:
            fitting = _default(candidates) if form is None else []
        if fitting:
            chosen[key] = fitting[0]
        elif form is not None:
            attention = " with streaming attention" if key[1] else ""
            there = ", ".join(f"{graph.name} ({graph.form})" for graph in candidates)
            raise ArtifactRefused(
                f"{root} has no {part}{attention} of the form {form!r}; it has {there}.",
                hint=f"Next: choose one of these, {' or '.join(FORM_NAMES)}, or leave '{COMPONENTS[part]}' out.",
            )
    return chosen


def _default(candidates: Sequence[Graph]) -> list[Graph]:
    """Return the candidates without IRs and engines, which are used only if the caller asks for them."""
    return [graph for graph in candidates if graph.form not in ("openvino", "engine")]
