"""The choice of one artifact for each part of a voice, from `forms`, the argument of `load_voice`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cosybuild.errors import ArtifactRefused, ServingError
from cosybuild.runtime.voice.parts import CACHED_FORMS, COMPONENT_OF, COMPONENTS, FORM_NAMES, Graph

_UNCACHED = {cached: part for part, cached in CACHED_FORMS.items()}

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
        part, form = key[0], forms.get(COMPONENT_OF[key[0]])
        named = next((g for g in found if g.name == form and COMPONENT_OF[g.part] == COMPONENT_OF[part]), None)
        if form in FORM_NAMES:
            fitting = [graph for graph in candidates if graph.form == form]
        elif named is not None:
            # A file has one kind of attention; the other kind keeps its default. Streams use the named file.
            is_other = part in _UNCACHED and named.key == (_UNCACHED[part], True)
            fitting = [named] if named.key == key else [] if is_other else _default(candidates)
        else:
            fitting = _default(candidates) if form is None else []
        if fitting:
            chosen[key] = fitting[0]
        elif form is not None and any(graph.key == (_UNCACHED.get(part), True) for graph in found):
            continue  # streams then have no caches
        elif form is not None:
            attention = " with streaming attention" if key[1] else ""
            there = ", ".join(f"{graph.name} ({graph.form})" for graph in candidates)
            raise ArtifactRefused(
                f"{root} has no {part}{attention} of the form {form!r}; it has {there}.",
                hint=f"Next: choose one of these, {' or '.join(FORM_NAMES)}, or leave '{COMPONENT_OF[part]}' out.",
            )
    return chosen


def _default(candidates: Sequence[Graph]) -> list[Graph]:
    """Return the candidates without IRs and engines, which are used only if the caller asks for them."""
    return [graph for graph in candidates if graph.form not in ("openvino", "engine")]
