"""The artifacts of a directory that are parts of a voice, and the checks that they belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cosybuild.directory_in_service import View
from cosybuild.errors import ArtifactRefused
from cosybuild.identity import (
    CACHED_CONDITIONS,
    CACHED_OUTPUTS,
    ESTIMATOR_PORTS,
    Build,
    build_of,
    distinct_builds,
    flow_of,
    voice_of,
)
from cosybuild.identity import ESTIMATOR as ESTIMATOR_NAME
from cosybuild.identity import FRONT_END as FRONT_END_NAME
from cosybuild.manifest import manifest_path, read_manifest
from cosybuild.runtime.admission import ENGINE_SUFFIXES, GRAPH_SUFFIX, IR_SUFFIX
from cosybuild.runtime.voice.caches import CacheForm, cache_form
from cosybuild.runtime.voice.facts import Facts, facts_of
from cosybuild.voice_description import DESCRIPTION, Description, faults, read_description

FRONT_END, ESTIMATOR, VOCODER = "front end", "estimator", "vocoder"
CACHED, CACHED_FRONT = "cached estimator", "cached front end"
"""The parts, by the names in messages."""
COMPONENTS = {FRONT_END: "frontend", ESTIMATOR: "estimator", VOCODER: "vocoder"}
"""The parts by the names of the components that build them."""
CACHED_FORMS = {FRONT_END: CACHED_FRONT, ESTIMATOR: CACHED}
"""Part -> its cached form, which can also serve as the uncached one with streaming attention."""

FORM_NAMES = ("graph", "lowered", "openvino", "engine")
"""The forms of a part: a graph that was not lowered, a lowered graph, an OpenVINO IR, an engine."""

_BUILT_TOGETHER = {FRONT_END: (FRONT_END, CACHED_FRONT), ESTIMATOR: (ESTIMATOR, CACHED), VOCODER: (VOCODER,)}
"""Part -> the parts that have its weights."""
COMPONENT_OF = {part: COMPONENTS[main] for main, parts in _BUILT_TOGETHER.items() for part in parts}
"""Part, cached or not -> the component that builds it."""
_FLOW_NAMES = {part: name for main, name in ((FRONT_END, FRONT_END_NAME), (ESTIMATOR, ESTIMATOR_NAME))
               for part in _BUILT_TOGETHER[main]}  # fmt: skip
_CONDITIONS, _STATE = ("mu", "spks", "cond"), ("f0", "next_phase", "next_noise_offset")
_UNLOWERED, _WIDE_F0 = "graph", "f0_float64"


@dataclass(frozen=True)
class Graph:
    """One artifact of a voice: an ONNX graph, an OpenVINO IR or an engine.

    Attributes:
        name: its file name in the directory.
        path: its file, which is elsewhere while a deployment is running.
        part: `FRONT_END`, `ESTIMATOR`, `CACHED`, `CACHED_FRONT` or `VOCODER`.
        streaming: True for the attention with the chunk mask; False for a vocoder.
        manifest: the manifest beside it.
    """

    name: str
    path: Path
    part: str
    streaming: bool
    manifest: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, bool]:
        """Part and attention. Artifacts with equal keys can replace each other."""
        return self.part, self.streaming

    @property
    def form(self) -> str:
        """The form of the artifact, one of `FORM_NAMES`."""
        if self.path.suffix in ENGINE_SUFFIXES:
            return "engine"
        if self.path.suffix == IR_SUFFIX:
            return "openvino"
        return "graph" if self.manifest.get("slot") == _UNLOWERED else "lowered"

    @property
    def build(self) -> Build:
        """The identity of the build that made the artifact."""
        return build_of(self.manifest)

    @property
    def model(self) -> Mapping[str, Any]:
        """The manifest's field `model`, the facts of the network; empty if there is none."""
        found: Mapping[str, Any] = self.manifest.get("model") or {}
        return found

    @property
    def voice(self) -> Mapping[str, str]:
        """Component -> sha256 of its weights in the joint build of the artifact; empty if it was built alone."""
        return voice_of(self.manifest)

    @property
    def flow(self) -> tuple[str, str] | None:
        """The flow model that the artifact comes from: (family, weights); None for a vocoder, or if it is not known."""
        if self.part not in _FLOW_NAMES:
            return None
        if self.model.get("random_weights"):
            return self.build.family, self.build.weights
        return flow_of(_FLOW_NAMES[self.part], self.build)


def graphs_in(view: View) -> tuple[list[Graph], list[str]]:
    """Find the parts of a voice in a directory.

    Returns:
        The parts, preferred ones first, and the reasons why other artifacts cannot be used. A graph that was not
            lowered comes before a lowered one, and a vocoder that computes f0 in float64 before one that computes it in
            float32.
    """
    found: list[Graph] = []
    reasons: list[str] = []
    for name, path in view.files().items():
        if path.suffix not in (GRAPH_SUFFIX, IR_SUFFIX, *ENGINE_SUFFIXES):
            continue
        if path.suffix == IR_SUFFIX and not manifest_path(path).exists():
            continue  # another program wrote it
        try:
            manifest = read_manifest(path)
        except ValueError as error:
            reasons.append(f"{name} is refused: {error}.")
            continue
        if manifest is None:
            reasons.append(f"{name} is refused: it has no manifest, which states the facts that a voice needs.")
            continue
        part, reason = part_in_voice(manifest)
        if part is not None:
            streaming = bool(manifest.get("model", {}).get("streaming")) and part != VOCODER
            found.append(Graph(name, path, part, streaming, manifest))
        elif reason:
            reasons.append(f"{name} is refused: {reason}.")
    return sorted(found, key=_preference), reasons


def _preference(graph: Graph) -> tuple[bool, bool, str]:
    is_wide = _WIDE_F0 in (graph.model.get("form") or ())
    return graph.manifest.get("slot") != _UNLOWERED, not is_wide, graph.name


def part_in_voice(manifest: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the part of a voice that an artifact is, judged by its inputs and outputs, and a reason.

    The part is None if the artifact cannot be used. The reason says why; it is empty if the artifact is no part of a
    voice.
    """
    interface = manifest.get("interface") or {}
    ports = [*interface.get("inputs", ()), *interface.get("outputs", ())]
    outputs = tuple(port["name"] for port in interface.get("outputs", ()))
    if tuple(port["name"] for port in ports) == ESTIMATOR_PORTS:
        part = ESTIMATOR
    elif outputs == CACHED_OUTPUTS:
        part = CACHED
    elif outputs == CACHED_CONDITIONS:
        part = CACHED_FRONT
    elif outputs == _CONDITIONS:
        part = FRONT_END
    elif outputs == ("waveform", *_STATE):
        part = VOCODER
    elif outputs[-len(_STATE) :] == _STATE:
        return None, "its outputs are spectra (vocoder.cut=spectrum); a voice needs a vocoder with a waveform"
    else:
        return None, ""
    if any(port["dtype"] == "bfloat16" for port in ports):
        return None, "its tensors are bfloat16, which numpy does not have; float32 or float16 is expected"
    return part, ""


def check_same_voice(root: Path, graphs: Sequence[Graph]) -> None:
    """Check that all artifacts belong to one voice.

    They do not if one part comes from several builds, or if two parts come from different models. The weights of the
    vocoder are in another file than those of the flow. A joint build states the weights of all its parts in each
    manifest. If parts were built alone, only their versions can be compared here.

    Raises:
        ArtifactRefused: two artifacts do not belong together; the message names both and the build of each.
    """
    for part, forms in _BUILT_TOGETHER.items():
        builds = distinct_builds((graph.name, graph.build) for graph in graphs if graph.part in forms)
        if len(builds) > 1:
            (one, first), (other, second), *_ = builds
            raise _apart(root, f"it holds the {part} of {len(builds)} builds: {one} comes from {first}", other, second)
    for graph, beside in combinations(graphs, 2):
        if graph.build.family != beside.build.family:
            said = "its parts are of two versions"
        elif None not in (graph.flow, beside.flow) and graph.flow != beside.flow:
            said = "front end and estimator are of two flow models"
        else:
            continue
        raise _apart(root, f"{said}: {graph.name} comes from {graph.build}", beside.name, beside.build)
    for graph in graphs:
        for beside in graphs:
            weights = graph.voice.get(COMPONENT_OF[beside.part])
            if weights is not None and weights != beside.build.weights:
                said = f"{graph.name} was built with the {beside.part} of weights {weights[:12]}"
                raise _apart(root, said, beside.name, beside.build)


def check_description(view: View, graphs: Sequence[Graph]) -> None:
    """Check that the artifacts are those that the deployment of a whole voice has listed in its description.

    A directory without a description is accepted if none of its artifacts was deployed as a part of a whole voice.

    Raises:
        ArtifactRefused: the description cannot be read, or an artifact is not the one that it lists.
    """
    path = view.path_of(DESCRIPTION)
    try:
        description = None if path is None else read_description(path)
        reasons = list(_differences(view, graphs, description))
    except ValueError as error:
        reasons = [str(error)]
    if reasons:
        raise ArtifactRefused(
            f"{view.place} is refused: its artifacts do not belong to one voice: {'; '.join(reasons)}.",
            hint=f"Next: deploy component=token2wav to {view.root} again; or python -m cosybuild check {view.root}",
        )


def _differences(view: View, graphs: Sequence[Graph], description: Description | None) -> Iterator[str]:
    if description is None:
        for graph in graphs:
            if graph.manifest.get("deployment", {}).get("whole"):
                yield f"{graph.name} was deployed as a part of a whole voice, and {DESCRIPTION} is missing"
        return
    manifests: dict[str, Mapping[str, Any] | None] = {graph.name: graph.manifest for graph in graphs}
    for name in description.members:
        if name not in manifests and (path := view.path_of(name)) is not None:
            manifests[name] = read_manifest(path)
    for name, reason in faults(description, manifests).items():
        yield f"{name}: {reason}"
    for graph in graphs:
        # A cached network may be built and deployed alone; `check_same_voice` compares its weights.
        if graph.name not in description.members and graph.part not in (CACHED, CACHED_FRONT):
            yield f"{graph.name} is a {graph.part} that {DESCRIPTION} does not list"


def _apart(root: Path, said: str, other: str, build: Build) -> ArtifactRefused:
    return ArtifactRefused(
        f"{root} is refused: {said}, and {other} from {build}.",
        hint=f"Next: deploy component=token2wav of one model to {root} again; or python -m cosybuild check {root}",
    )


def cache_form_in(root: Path, graph: Graph) -> CacheForm:
    """Return the caches that a cached estimator or a cached front end takes, from its manifest.

    Raises:
        ArtifactRefused: the manifest does not state them; the message names `root`, the directory.
    """
    try:
        ports = graph.manifest["interface"]["inputs"]
        inputs = {port["name"]: (tuple(port["shape"]), str(port["dtype"])) for port in ports}
        most = graph.model["cache_frames"]
        if graph.part == CACHED_FRONT and type(most) is int:  # its caches count tokens
            most //= int(graph.model["hyperparameters"]["token_mel_ratio"])
        return cache_form(inputs, most)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ArtifactRefused(
            f"{root} is refused: the manifest of {graph.name} does not describe its caches ({error!r}).",
            hint="Next: run the build with model.cache=true again and deploy it again.",
        ) from error


def context_tokens_in(root: Path, graph: Graph) -> int | None:
    """Return the tokens before a token on which a front end's frames depend; None if the manifest states none.

    Raises:
        ArtifactRefused: the manifest states another value than a whole number.
    """
    found = graph.model.get("context_tokens")
    if found is not None and (type(found) is not int or found < 0):
        raise ArtifactRefused(
            f"{root} is refused: the manifest of {graph.name} states context_tokens={found!r}, and a whole number of "
            "at least 0 is expected.",
            hint="Next: run the build component=token2wav again and deploy it again.",
        )
    return found


def facts_in(root: Path, frontend: Graph, estimator: Graph, vocoder: Graph) -> Facts:
    """Return the facts of a voice, from the manifests of its three parts.

    Raises:
        ArtifactRefused: a manifest lacks a fact, or two manifests contradict each other.
    """
    try:
        facts = facts_of(frontend.model, estimator.model, vocoder.model)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"a manifest is malformed ({error!r})"
        raise ArtifactRefused(
            f"{root} is refused: {frontend.name}, {estimator.name} and {vocoder.name} are not a voice: {reason}.",
            hint="Next: run the build component=token2wav again and deploy it again; it states all facts.",
        ) from error
    rate, own = facts.sample_rate / facts.hop, estimator.model.get("frames_per_second")
    if not isinstance(own, int | float) or abs(own - rate) > 1e-6 * rate:
        raise ArtifactRefused(
            f"{root} is refused: {estimator.name} has {own} mel frames a second, and {vocoder.name} {rate:g}.",
            hint="Next: deploy the vocoder of the same model.",
        )
    return facts
