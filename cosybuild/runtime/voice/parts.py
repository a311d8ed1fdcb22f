"""The graphs of a directory that are parts of a voice, and the check that they belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cosybuild.directory_in_service import View
from cosybuild.errors import ArtifactRefused
from cosybuild.identity import CACHED_OUTPUTS, ESTIMATOR_PORTS, Build, build_of, distinct_builds, flow_of, voice_of
from cosybuild.identity import ESTIMATOR as ESTIMATOR_NAME
from cosybuild.manifest import manifest_path, read_manifest
from cosybuild.runtime.admission import ENGINE_SUFFIXES, GRAPH_SUFFIX, IR_SUFFIX
from cosybuild.runtime.voice.caches import CacheForm, cache_form
from cosybuild.runtime.voice.facts import Facts, facts_of
from cosybuild.voice_description import DESCRIPTION, Description, faults, read_description

FRONT_END, ESTIMATOR, CACHED, VOCODER = "front end", "estimator", "cached estimator", "vocoder"
"""The parts, by the names in messages."""
COMPONENTS = {FRONT_END: "frontend", ESTIMATOR: "estimator", VOCODER: "vocoder"}
"""The parts by the names of the components that build them. A cached estimator is no part of a joint build."""

FORM_NAMES = ("graph", "lowered", "openvino", "engine")
"""The forms of a part: a graph that was not lowered, a lowered graph, an OpenVINO IR, and an engine."""

_BUILT_TOGETHER = {FRONT_END: (FRONT_END,), ESTIMATOR: (ESTIMATOR, CACHED), VOCODER: (VOCODER,)}
"""Part -> the parts that have its weights."""
_FLOW_NAMES = {FRONT_END: "flow.frontend", ESTIMATOR: ESTIMATOR_NAME, CACHED: ESTIMATOR_NAME}
_CONDITIONS, _STATE = ("mu", "spks", "cond"), ("f0", "next_phase", "next_noise_offset")
_UNLOWERED, _WIDE_F0 = "graph", "f0_float64"


@dataclass(frozen=True)
class Graph:
    """One graph of a voice, one OpenVINO IR, or one engine.

    Attributes:
        name: its file name in the directory.
        path: its file, which is elsewhere while a deployment is running.
        part: `FRONT_END`, `ESTIMATOR`, `CACHED` or `VOCODER`.
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
        """Graphs with equal keys can replace each other."""
        return self.part, self.streaming

    @property
    def form(self) -> str:
        """One of `FORM_NAMES`."""
        if self.path.suffix in ENGINE_SUFFIXES:
            return "engine"
        if self.path.suffix == IR_SUFFIX:
            return "openvino"
        return "graph" if self.manifest.get("slot") == _UNLOWERED else "lowered"

    @property
    def build(self) -> Build:
        """The build that the graph comes from."""
        return build_of(self.manifest)

    @property
    def model(self) -> Mapping[str, Any]:
        """The facts of the network, from the manifest."""
        found: Mapping[str, Any] = self.manifest.get("model") or {}
        return found

    @property
    def voice(self) -> Mapping[str, str]:
        """Component -> weights of the voice with which it was built; empty if it was built alone."""
        return voice_of(self.manifest)

    @property
    def flow(self) -> tuple[str, str] | None:
        """Family and weights of the flow model, random weights included; None for a vocoder, or if not known."""
        if self.part not in _FLOW_NAMES:
            return None
        if self.model.get("random_weights"):
            return self.build.family, self.build.weights
        return flow_of(_FLOW_NAMES[self.part], self.build)


def graphs_in(view: View) -> tuple[list[Graph], list[str]]:
    """Return the parts of a voice in a directory, preferred graphs first, and why other graphs cannot be used.

    A graph that was not lowered comes before a lowered one, and a vocoder that computes f0 in float64 before one in
    float32.
    """
    found: list[Graph] = []
    reasons: list[str] = []
    for name, path in view.files().items():
        if path.suffix not in (GRAPH_SUFFIX, IR_SUFFIX, *ENGINE_SUFFIXES):
            continue
        if path.suffix == IR_SUFFIX and not manifest_path(path).exists():
            continue  # another program's
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
    """Return the part that a graph is, by its inputs and outputs, and the reason if it cannot be used."""
    interface = manifest.get("interface") or {}
    ports = [*interface.get("inputs", ()), *interface.get("outputs", ())]
    outputs = tuple(port["name"] for port in interface.get("outputs", ()))
    if tuple(port["name"] for port in ports) == ESTIMATOR_PORTS:
        part = ESTIMATOR
    elif outputs == CACHED_OUTPUTS:
        part = CACHED
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
    """Refuse graphs that do not belong to one voice: several builds of one part, or parts of different models.

    The weights of the vocoder are in another file than those of the flow. A joint build states the weights of all its
    parts in each manifest; of parts that were built alone, only the versions and rates can be compared.

    Raises:
        ArtifactRefused: the message names two files and what each comes from.
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
            weights = graph.voice.get(COMPONENTS.get(beside.part, COMPONENTS[ESTIMATOR]))
            if weights is not None and weights != beside.build.weights:
                said = f"{graph.name} was built with the {beside.part} of weights {weights[:12]}"
                raise _apart(root, said, beside.name, beside.build)


def check_description(view: View, graphs: Sequence[Graph]) -> None:
    """Refuse artifacts that are not those of the deployment of a whole voice.

    A directory without a description is accepted if none of its artifacts was deployed as a part of a whole voice.

    Raises:
        ArtifactRefused: the description cannot be used, or an artifact is not the one that it lists.
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
        # A cached estimator is built and deployed alone; `check_same_voice` compares its weights.
        if graph.name not in description.members and graph.part != CACHED:
            yield f"{graph.name} is a {graph.part} that {DESCRIPTION} does not list"


def _apart(root: Path, said: str, other: str, build: Build) -> ArtifactRefused:
    return ArtifactRefused(
        f"{root} is refused: {said}, and {other} from {build}.",
        hint=f"Next: deploy component=token2wav of one model to {root} again; or python -m cosybuild check {root}",
    )


def cache_form_in(root: Path, graph: Graph) -> CacheForm:
    """Return the caches that a cached estimator takes, from its manifest.

    Raises:
        ArtifactRefused: the manifest does not state them.
    """
    try:
        ports = graph.manifest["interface"]["inputs"]
        inputs = {port["name"]: (tuple(port["shape"]), str(port["dtype"])) for port in ports}
        return cache_form(inputs, graph.model["cache_frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(
            f"{root} is refused: the manifest of {graph.name} does not describe its caches ({error!r}).",
            hint="Next: run the build with model.cache=true again and deploy it again.",
        ) from error


def facts_in(root: Path, frontend: Graph, estimator: Graph, vocoder: Graph) -> Facts:
    """Return the facts that three manifests state.

    Raises:
        ArtifactRefused: a manifest lacks a fact, or two contradict each other.
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
