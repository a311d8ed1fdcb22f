"""Loading of a voice from a directory in service, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from cosybuild.directory_in_service import STATE, View
from cosybuild.errors import ArtifactRefused
from cosybuild.runtime.arguments import check_arguments
from cosybuild.runtime.directory import directory_in_service, read_consistently
from cosybuild.runtime.part import load_part
from cosybuild.runtime.pool import Pool
from cosybuild.runtime.voice.arrays import Part
from cosybuild.runtime.voice.artifact_choice import check_forms, choose
from cosybuild.runtime.voice.caches import without_history
from cosybuild.runtime.voice.engine_part import load_engine
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.parts import (
    CACHED,
    CACHED_FORMS,
    CACHED_FRONT,
    ESTIMATOR,
    FRONT_END,
    VOCODER,
    Graph,
    cache_form_in,
    check_description,
    check_same_voice,
    context_tokens_in,
    facts_in,
    graphs_in,
)
from cosybuild.runtime.voice.voice import CachedPart, Flow, Voice


def load_voice(
    path: str | Path,
    *,
    concurrency: int = 1,
    timeout: float | None = 30.0,
    threads: int = 0,
    trust: bool = False,
    forms: Mapping[str, str] = MappingProxyType({}),
) -> Voice:
    """Load the front end, the estimator and the vocoder of a directory as one voice, on the CPU.

    The process needs numpy and ONNX Runtime, and no PyTorch unless `forms` asks for an engine.

    A directory may hold several artifacts of a part. Those with full and those with streaming attention are both
    loaded. Among several forms, a graph that was not lowered is preferred to a lowered one, and a vocoder with
    `vocoder.f0=float64` to one with float32; `forms` chooses another one. If the directory holds a cached estimator in
    the chosen form, `Voice.stream` uses it, and also a cached front end (CosyVoice 2). A cached network also takes the
    place of the uncached one with streaming attention if the directory has none. As in `load_estimator`, a deployment
    that has begun is loaded completely or not at all.

    Args:
        path: a directory in service with the artifacts of `component=token2wav`, each with its manifest; or the version
            directory of a Triton model.
        concurrency: number of computations at a time; further callers wait. One computation is the flow of an utterance
            or of a prefix of an utterance, or a call of the vocoder.
        timeout: seconds that a caller waits; None waits without limit.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime or OpenVINO.
        trust: also load artifacts that were not verified.
        forms: component (`frontend`, `estimator`, `vocoder`) -> `graph` (not lowered), `lowered`, `openvino`, `engine`,
            or the name of a file. An engine needs PyTorch and a GPU, and is possible for the estimator only.

    Raises:
        ArtifactRefused: a part is missing, does not exist in the requested form or must not be loaded, or two parts do
            not belong together; the message gives the reasons and names the files.
        MissingRequirement: ONNX Runtime, or a library that an IR or engine needs, does not load on this machine.
        ServingError: an argument has an invalid value.
    """
    check_arguments(concurrency, timeout, threads)
    check_forms(forms)
    root = Path(path)
    if not root.is_dir():
        raise ArtifactRefused(
            f"{root} is refused: it is not a directory.",
            hint="Next: give the directory of deploy.dir, with the artifacts of component=token2wav.",
        )
    slots = Pool(range(concurrency), f"the voice in {root.name}", timeout)
    # If `path` is the version directory of a Triton model, deployments change one of its parent directories.
    home = root if (root / STATE).is_dir() else directory_in_service(root) or root
    folder = "" if home == root else root.absolute().relative_to(home).as_posix()
    options = _Options(concurrency, timeout, threads, trust, forms)
    return read_consistently(home, lambda view: _load(view.below(folder), options, slots))


@dataclass(frozen=True)
class _Options:
    concurrency: int
    timeout: float | None
    threads: int
    trust: bool
    forms: Mapping[str, str]

    def load(self, graph: Graph) -> Part:
        """Load one artifact as a callable part."""
        if graph.form == "engine":
            return load_engine(graph, concurrency=self.concurrency, timeout=self.timeout, trust=self.trust)
        return load_part(graph.path, threads=self.threads, trust=self.trust)


def _load(view: View, options: _Options, slots: Pool[int]) -> Voice:
    found, refusals = graphs_in(view)
    check_description(view, found)
    check_same_voice(view.place, found)
    chosen = choose(view.place, found, options.forms)
    uncached = dict(chosen)
    for part, cached in CACHED_FORMS.items():
        if (part, True) not in chosen and (cached, True) in chosen:
            uncached[part, True] = chosen[cached, True]
    variants = [s for s in (False, True) if {(FRONT_END, s), (ESTIMATOR, s)} <= uncached.keys()]
    if not variants or (VOCODER, False) not in chosen:
        raise _incomplete(view.place, chosen, refusals)
    facts = _facts(view.place, uncached, variants)
    loaded: dict[Path, Part] = {}

    def load(graph: Graph) -> Part:
        if graph.path not in loaded:
            loaded[graph.path] = options.load(graph)
        return loaded[graph.path]

    def network(part: str, streaming: bool) -> Part:
        graph = uncached[part, streaming]
        if graph.part == part:
            return load(graph)
        return without_history(load(graph), cache_form_in(view.place, graph))

    vocoder = load(chosen[VOCODER, False])
    flows = {streaming: Flow(network(FRONT_END, streaming), network(ESTIMATOR, streaming)) for streaming in variants}
    if (CACHED, True) in chosen and True in flows:
        estimator, frontend = (
            CachedPart(load(chosen[part, True]), cache_form_in(view.place, chosen[part, True]))
            if (part, True) in chosen
            else None
            for part in (CACHED, CACHED_FRONT)
        )
        context = context_tokens_in(view.place, uncached[FRONT_END, True])
        flows[True] = replace(flows[True], cached=estimator, cached_frontend=frontend, context_tokens=context)
    return Voice(*_networks(flows.get(False)), vocoder, facts, streaming=flows.get(True), slots=slots)


def _networks(flow: Flow | None) -> tuple[Part | None, Part | None]:
    return (None, None) if flow is None else (flow.frontend, flow.estimator)


def _facts(root: Path, chosen: dict[tuple[str, bool], Graph], variants: list[bool]) -> Facts:
    """Return the facts of the voice. Both attention variants must state the same facts."""
    several = [
        facts_in(root, chosen[FRONT_END, streaming], chosen[ESTIMATOR, streaming], chosen[VOCODER, False])
        for streaming in variants
    ]
    if several[0] != several[-1]:
        names = [chosen[ESTIMATOR, streaming].name for streaming in variants]
        raise ArtifactRefused(
            f"{root} is refused: the manifests of {' and '.join(names)} state different facts: {several[0]} and "
            f"{several[-1]}.",
            hint="Next: build both variants from the same model directory and deploy them again.",
        )
    return several[0]


def _incomplete(root: Path, chosen: dict[tuple[str, bool], Graph], refusals: list[str]) -> ArtifactRefused:
    """Return the error for a directory that lacks a part that every voice needs."""
    present = [f"{graph.name} ({graph.part}{', streaming' if graph.streaming else ''})" for graph in chosen.values()]
    reasons = "".join(f"\n- {reason}" for reason in refusals)
    return ArtifactRefused(
        f"{root} has no complete voice: a front end and an estimator with the same attention, and a vocoder, are "
        f"expected; it has {', '.join(present) or 'none of them'}.{reasons}",
        hint=f"Next: python -m cosybuild component=token2wav model_dir=DIR trt=none deploy=bundle deploy.dir={root}",
    )
