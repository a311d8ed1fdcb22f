"""The rules that keep nodes in fp32 by the patterns of names that the user or the model states."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from cosybuild.errors import PrecisionError
from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.graph import name_of
from cosybuild.precision.rules import RuleInputs, Verdicts


def patterns(given: RuleInputs, globs: Sequence[str]) -> Verdicts:
    """Keep in float32 the nodes that match the user's glob patterns (`precision.keep_fp32`)."""
    for glob in globs:
        for node in matching_nodes(given.nodes, glob):
            yield node, f"precision.keep_fp32={glob}"


def matching_nodes(nodes: Sequence[ir.Node], glob: str) -> list[ir.Node]:
    """Return the nodes whose name, module path or operator matches the glob pattern.

    Raises:
        PrecisionError: no node matches, so the pattern is a mistake.
    """
    matched = [node for node in nodes if any(fnmatch.fnmatchcase(text, glob) for text in _texts(node))]
    if not matched:
        kinds = ", ".join(sorted({node.op_type for node in nodes}))
        raise PrecisionError(
            f"precision.keep_fp32 has the pattern '{glob}', which matches no node's name, module path or operator "
            f"(operators here: {kinds}).",
            hint="Next: use node names and module paths from the report of a run, under precision.",
        )
    return matched


def literal(name: str) -> str:
    """Return a glob pattern that matches exactly this name."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _texts(node: ir.Node) -> tuple[str, str, str]:
    return name_of(node), module_path(name_of(node)), node.op_type


def modules(given: RuleInputs, patterns: Mapping[str, str]) -> Verdicts:
    """Keep in float32 the nodes of the modules in `ModelSpec.float32_modules` (glob pattern -> reason)."""
    for glob, reason in patterns.items():
        for node in given.nodes:
            if fnmatch.fnmatchcase(module_path(name_of(node)), glob):
                yield node, reason
