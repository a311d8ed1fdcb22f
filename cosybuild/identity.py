"""The identity of the build that an artifact comes from, read from the artifact's manifest. Standard library only.

Artifacts of one build are variants of the same network with the same weights: streaming and full attention, fixed
and dynamic batch, float32 and lowered, graphs and engines. A directory in service may have several of them. It must not
have artifacts of two builds for the same part of a model (such as the estimator), because a caller could not know which
one is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ESTIMATOR = "flow.decoder.estimator"
ESTIMATOR_INPUTS = ("x", "mask", "mu", "t", "spks", "cond")
ESTIMATOR_PORTS = (*ESTIMATOR_INPUTS, "estimator_out")
"""The names of the estimator's inputs and output, in binding order (docs/contract.md)."""
CACHED_ESTIMATOR = f"{ESTIMATOR}.cached"
"""The name of the part that a cached estimator computes. Callers of an uncached estimator cannot call it."""
CACHED_OUTPUTS = ("estimator_out", "new_conv_cache", "new_att_cache")
"""The names of the outputs of a cached estimator, in binding order."""

FRONT_END = "flow.frontend"
CACHED_FRONT_END = f"{FRONT_END}.cached"
CACHED_CONDITIONS = ("mu", "spks", "cond", "new_conv_cache", "new_att_cache")
"""The outputs of a cached front end, which is a part of its own, too."""

_WEIGHTS_OF = {CACHED_ESTIMATOR: ESTIMATOR, CACHED_FRONT_END: FRONT_END}

_NOT_STEM = re.compile(r"streaming|fp\d+|bf\d+|autocast\w*|mixed\w*|dynamic_batch|mygpu|sm\d+|onnx|plan|engine|trt")


@dataclass(frozen=True)
class Build:
    """The identity of a build.

    Artifacts of one build compute the same function, except for rounding and for the attention variant.

    Attributes:
        family: e.g. `cosyvoice2`; empty if the manifest does not state it.
        weights: sha256 of the weights file; the same text as `label` if there is no such file.
        hyperparameters: sha256 of the hyper-parameters, and of the code and data of a user's module.
        label: the name of the weights file, for messages.
    """

    family: str
    weights: str
    hyperparameters: str
    label: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The fields that are equal for equal builds: family, weights and hyper-parameters."""
        return self.family, self.weights, self.hyperparameters

    def __str__(self) -> str:
        weights = f"{self.label} (sha256 {self.weights[:12]})" if self.label != self.weights else self.label
        return f"{self.family or 'unknown'} with {weights or 'unknown weights'}, settings {self.hyperparameters[:8]}"


def build_of(manifest: Mapping[str, Any]) -> Build:
    """Return the identity of the build that a manifest describes. Missing fields become empty texts."""
    model = manifest.get("model") or {}
    made_of: Any = model.get("hyperparameters") or {}
    if model.get("code"):
        made_of = [made_of, model["code"]]
    plain = json.dumps(made_of, sort_keys=True)
    label = str(model.get("weights") or "")
    return Build(
        family=str(model.get("family") or ""),
        weights=str(model.get("weights_digest") or label),
        hyperparameters=hashlib.sha256(plain.encode()).hexdigest(),
        label=label,
    )


def voice_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the weights of all parts of the voice with which an artifact was built jointly, by the name of the part.

    The result is empty if the artifact was built alone.
    """
    found = manifest.get("voice")
    return {str(part): str(weights) for part, weights in found.items()} if isinstance(found, dict) else {}


def part_of(name: str, manifest: Mapping[str, Any] | None) -> str:
    """Return the part of the model that an artifact computes, e.g. `flow.decoder.estimator` or `campplus`.

    An estimator is recognised by the names of its inputs and outputs. For other artifacts, the part is the first words
    of the name under which the artifact was built.

    Args:
        name: the file's name.
        manifest: the artifact's manifest; None if it has none.
    """
    facts = manifest or {}
    interface = facts.get("interface") or {}
    ports = (*interface.get("inputs", ()), *interface.get("outputs", ()))
    if tuple(port["name"] for port in ports) == ESTIMATOR_PORTS:
        return ESTIMATOR
    outputs = tuple(port["name"] for port in interface.get("outputs", ()))
    if outputs in (CACHED_OUTPUTS, CACHED_CONDITIONS):
        return CACHED_ESTIMATOR if outputs == CACHED_OUTPUTS else CACHED_FRONT_END
    built_as = str((facts.get("deployment") or {}).get("built_as") or name.rpartition("/")[2])
    words = built_as.split(".")
    end = next((index for index, word in enumerate(words) if index and _NOT_STEM.fullmatch(word)), len(words))
    return ".".join(words[:end])


def weights_part(part: str) -> str:
    """Return the part whose weights `part` uses: a cached network uses those of the uncached one."""
    return _WEIGHTS_OF.get(part, part)


def flow_of(part: str, build: Build) -> tuple[str, str] | None:
    """Return the family and the weights' sha256 of the flow model that a part was built from; None if it is not known.

    The front end computes the estimator's inputs, so both must come from the same flow model. It is known only if the
    weights file was that of a whole flow model, such as flow.pt.

    Args:
        part: the name of the part, see `part_of`.
        build: the build of the part.
    """
    is_whole = part.startswith("flow.") and build.label in ("flow.pt", "flow.safetensors")
    return (build.family, build.weights) if is_whole else None


def distinct_builds(named: Iterable[tuple[str, Build]]) -> list[tuple[str, Build]]:
    """Return each different build once, with the first name that belongs to it.

    Artifacts of different builds of one part must not be deployed together.

    Args:
        named: pairs of the name of an artifact and its build.
    """
    found: dict[tuple[str, str, str], tuple[str, Build]] = {}
    for name, build in named:
        found.setdefault(build.key, (name, build))
    return list(found.values())
