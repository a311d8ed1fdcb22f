"""The code that a user's module depends on, known from an earlier trace or from a new one.

A trace lists the files that are read while a subprocess constructs the module.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Died, call_in_subprocess
from cosybuild.config.groups.model import Family
from cosybuild.errors import CosybuildError, ModelError
from cosybuild.models.subject import Subject
from cosybuild.models.user_module.audit import record_reads
from cosybuild.models.user_module.declared import file_of_target, source_file, targets_in
from cosybuild.models.user_module.fresh import import_from_source
from cosybuild.models.user_module.installed import fingerprint, owner_of, requirements_of
from cosybuild.models.user_module.trace import Trace, is_local, trace_from_json, trace_of
from cosybuild.request import Request
from cosybuild.stages.export import sizes_of_example
from cosybuild.store.store import Store
from cosybuild.system.files import write_atomic

TRACES = "traces"
_KEPT = 500
_SELF_CONTAINED = frozenset({"torch"})
"""Distributions that import no modules of the user. Others may do so: Django, for example, imports its settings."""


def with_code(request: Request, store: Store, tell: Callable[[str], None], *, remember: bool) -> Request:
    """Add the trace of the module's code to a request of `model=module`; return any other request unchanged.

    A module of torch is identified by the versions of torch and of the packages that torch requires. For any other
    module, the trace in the store is used if everything in it is unchanged. Otherwise a subprocess imports torch and
    constructs the module to make a new trace.

    Args:
        request: the request.
        store: the store, which keeps the traces.
        tell: called with a line before a slow action, and for each ingredient that cannot be traced.
        remember: True if the trace may be written to the store.

    Raises:
        ModelError: the module cannot be constructed.
    """
    subject = request.subject
    if subject.family is not Family.module:
        return request
    trace = _installed(subject) or _seen(request, store, tell, remember=remember)
    return replace(request, subject=replace(subject, code=trace))


def known_code(request: Request, store: Store) -> Trace | None:
    """Return the trace of the module's code if it is known without a subprocess.

    Return None if it is not known, and for a model that is not `model=module`.

    Args:
        request: the request.
        store: the store, which keeps the traces.
    """
    subject = request.subject
    if subject.family is not Family.module:
        return None
    if (trace := _installed(subject)) is not None:
        return trace
    known = _remembered(_memo(subject, store))
    return None if known is None or _change(known, store) is not None else known


def _installed(subject: Subject) -> Trace | None:
    """Return the trace of a target whose code is all in packages that import no modules of the user; else None."""
    target = subject.hyperparameters["target"]
    if not all(owner in _SELF_CONTAINED for owner in _owners(target)) or _leads_elsewhere(target):
        return None
    return Trace(packages=_packages(target))


def _owners(target: Any) -> list[str | None]:
    """Return, for each `_target_` in a node, the distribution that contains it; None if no distribution does."""
    return [owner_of(file_of_target({"_target_": name})) if "." in name else None for name in targets_in(target)]


def _packages(target: Any) -> dict[str, str]:
    """Return name -> fingerprint of the installed distributions that a node names, and of all that they require."""
    found = {name for owner in _owners(target) if owner is not None for name in requirements_of(owner)}
    return {name: fingerprint(name) for name in sorted(found)}


def _leads_elsewhere(node: Any) -> bool:
    """Return True if an argument of the target may name a file or a module of the user."""
    if isinstance(node, Mapping):
        return any(_leads_elsewhere(value) for name, value in node.items() if name != "_target_")
    if isinstance(node, (list, tuple)):
        return any(map(_leads_elsewhere, node))
    if not isinstance(node, str):
        return False
    return not re.fullmatch(r"\w*", node) or Path(node).exists() or (node != "" and source_file([node]) is not None)


def _seen(request: Request, store: Store, tell: Callable[[str], None], *, remember: bool) -> Trace:
    subject, sizes = request.subject, sizes_of_example(request)
    name = subject.hyperparameters["target"]["_target_"]
    memo = _memo(subject, store)
    known = _remembered(memo)
    changed = None if known is None else _change(known, store)
    if known is not None and changed is None:
        return replace(known, memo=str(memo))
    why = "it is new" if changed is None else f"{changed} changed"
    tell(f"tracing the files that {name} uses, in a separate process ({why})")
    trace = _made(subject, () if known is None else known.learned, sizes)
    for phrase in trace.hidden:
        tell(
            f"{name} {phrase} during its construction; "
            "keys do not contain the result, so another result causes no build"
        )
    if remember:
        with suppress(OSError, CosybuildError):
            store.layout.prepare()
            memo.parent.mkdir(exist_ok=True)
            write_atomic(memo, trace.to_json().encode(), store.layout.tmp, durable=False)
            _prune(memo.parent)
    return replace(trace, memo=str(memo))


def _memo(subject: Subject, store: Store) -> Path:
    return store.layout.path / TRACES / f"{_identity(subject)}.json"


def _remembered(memo: Path) -> Trace | None:
    try:
        return trace_from_json(memo.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _prune(directory: Path) -> None:
    """Delete all but the newest traces. A deleted trace can be made again quickly."""
    aged = sorted((path.stat().st_mtime_ns, path) for path in directory.iterdir())
    for _, path in aged[:-_KEPT]:
        path.unlink(missing_ok=True)


def _identity(subject: Subject) -> str:
    """Return a digest of everything that determines which files the module reads, except the contents of files."""
    target, place = subject.hyperparameters["target"], [sys.version, sys.path, os.getcwd()]  # noqa: PTH109  # text
    return hashlib.sha256(json.dumps([target, subject.spec.facts(), place]).encode()).hexdigest()[:32]


def _change(trace: Trace, store: Store) -> str | None:
    try:
        return trace.change(lambda path: store.digests.digest(path)[0])
    except OSError as error:
        return str(error.filename)


def _made(subject: Subject, learned: tuple[str, ...], sizes: Mapping[str, int]) -> Trace:
    target = subject.hyperparameters["target"]
    name = target["_target_"]
    hint = "Next: call it in Python with the same arguments."
    try:
        trace = call_in_subprocess(trace_construction, replace(subject, weights=None), learned, sizes).value
    except (Died, RuntimeError) as error:
        raise ModelError(f"model.target could not be constructed: {name}: {error}", hint=hint) from error
    # Add the packages of the target, because a later call may import modules that the first call did not import.
    return replace(trace, packages=dict(sorted({**_packages(target), **trace.packages}.items())))


def trace_construction(subject: Subject, learned: tuple[str, ...], sizes: Mapping[str, int], emit: Emit) -> Trace:
    """Construct the module, call it once with these sizes, and return the trace (runs in a subprocess).

    Args:
        subject: the model.
        learned: paths that a later step of an earlier build read; the new trace includes them.
        sizes: axis -> size of the example inputs.
        emit: not used; every function of a subprocess takes it.

    Raises:
        ModelError: the module cannot be constructed.
    """
    with record_reads() as reads, import_from_source(is_local):
        import safetensors
        import torch

        from cosybuild.exporting.torch_exporters import example_inputs
        from cosybuild.models.load import load_module

        _announce(safetensors, "safe_open")
        _announce(torch.jit, "load")
        for path in _paths(subject.hyperparameters["target"]):
            sys.audit("open" if path.is_file() else "os.listdir", str(path), *(("rb", 0) if path.is_file() else ()))
        module = load_module(subject, None)
        # The first call may import modules and read files. The build's steps report if it fails.
        with suppress(Exception), torch.no_grad():
            module(*example_inputs(subject.spec, sizes))
    return trace_of(reads, targets_in(subject.hyperparameters["target"]), learned)


def _announce(module: Any, name: str) -> None:
    """Wrap a function of a module so that it reports the file that it opens.

    The function opens the file in native code, where no audit hook is called.
    """
    plain = getattr(module, name)

    def announced(*arguments: Any, **options: Any) -> Any:
        file = arguments[0] if arguments else options.get("filename", options.get("f"))
        if isinstance(file, (str, bytes, os.PathLike)):
            sys.audit("open", file, "rb", 0)
        return plain(*arguments, **options)

    setattr(module, name, announced)


def _paths(node: Any) -> Iterator[Path]:
    """Yield the existing files and directories that arguments of a target name."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _paths(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _paths(value)
    elif isinstance(node, str) and node and Path(node).exists():
        yield Path(node)
