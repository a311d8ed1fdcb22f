"""Resolve the settings to a `Subject`, the model that is built, without importing torch or onnx."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.vocoder import VocoderSettings
from cosybuild.errors import ConfigurationError, ModelDirectoryError
from cosybuild.models.artifact_name import artifact_stem
from cosybuild.models.components.component import Component
from cosybuild.models.components.graph_file import GraphFile
from cosybuild.models.components.registry import COMPONENTS, GRAPH_FILES
from cosybuild.models.cosyvoice.caching import cache_fault
from cosybuild.models.cosyvoice.families import FAMILIES
from cosybuild.models.declared_subject import declared_subject
from cosybuild.models.directory.locate import convert_permission_errors, locate
from cosybuild.models.directory.prompt_mel import PUBLISHED as PROMPT_MELS
from cosybuild.models.directory.reader import ModelDirectory, read_model_directory
from cosybuild.models.subject import Solver, Subject
from cosybuild.models.variant import CACHED, Variant
from cosybuild.models.weights_of_build import weights_fields


@convert_permission_errors()
def resolve_subject(
    model: ModelSettings,
    model_dir: str | None,
    dynamic_batch: bool,
    component: ComponentName = ComponentName.estimator,
    vocoder: VocoderSettings | None = None,
) -> Subject:
    """Return the `Subject` of a build: the model with its variant, inputs, outputs and weights.

    Args:
        model: the settings of the group `model`.
        model_dir: a directory or a hub id; None for random weights, or for a model of the user.
        dynamic_batch: True for a dynamic batch axis.
        component: the network of a CosyVoice model. With `model=module` and `model=onnx` it must be the default.
        vocoder: the settings of the group `vocoder`; None for the defaults.

    Raises:
        ModelDirectoryError: the directory is missing, unreadable, no model directory, or of another CosyVoice version.
        CheckpointError: the weights file is missing.
        ConfigurationError: the settings do not fit the model.
    """
    _check_family(model, component)
    if model.family in (Family.module, Family.onnx):
        if model_dir is not None:
            raise ConfigurationError(
                f"model_dir={model_dir} is a CosyVoice model directory, but model={model.family.value} does not use "
                "one.",
                hint="Next: remove model_dir, or remove model.",
            )
        return declared_subject(model, dynamic_batch)
    if component in GRAPH_FILES:
        return _of_file(GRAPH_FILES[component], model, model_dir, dynamic_batch)
    part = COMPONENTS[component]
    place = None if model_dir is None else locate(model_dir, [part.weights])
    directory = None if place is None else read_model_directory(place, part.read, model.family)
    family = _family(model, directory)
    if model.cache or model.cache_frames is not None:
        _check_cache(model, part, family)
    if model.streaming and family not in part.streaming:
        raise ConfigurationError(
            f"model.streaming=true, but the {component.value} of {family.value} has no streaming variant.",
            hint="Next: remove model.streaming"
            + (", or build CosyVoice 2 or 3." if part.streaming else f"; the {component.value} also serves streams."),
        )
    if model.streaming and directory is not None and not directory.chunked:
        raise ConfigurationError(
            f"model.streaming=true, but {directory.yaml} describes CosyVoice 2 as it was before April 2025, when its "
            "estimator had no chunk mask.",
            hint="Next: remove model.streaming, or use the present files of the model.",
        )
    if dynamic_batch and not part.dynamic_batch:
        raise ConfigurationError(
            f"export.dynamic_batch=true, but component={component.value} has a fixed batch of one.",
            hint="Next: remove export.dynamic_batch, and use a trt_profile without batch.",
        )
    graph = vocoder if part.reads_vocoder and vocoder is not None else VocoderSettings()
    values = _hyperparameters(part, model, family, directory)
    variant = Variant(family, values, model.streaming, graph, model.cache, model.cache_frames)
    if model.cache and (fault := cache_fault(family, values, model.cache_frames)) is not None:
        raise ConfigurationError(
            f"model.cache=true is not possible: {fault}.",
            hint="Next: remove model.cache, or change what this message names.",
        )
    fps = FAMILIES[family].frames_per_second if directory is None else directory.frames_per_second
    return Subject(
        family=family,
        spec=part.spec(variant, fps, dynamic_batch),
        hyperparameters=variant.hyperparameters,
        component=component,
        form=(*([CACHED] if model.cache else []), *graph.words),
        vocoder=graph,
        streaming=model.streaming,
        **weights_fields(model, part.weights, directory),
        seed=model.seed,
        stem=artifact_stem(model, part.stem),
        solver=_solver(part, directory),
        cache_frames=model.cache_frames,
        prompt_mel=_prompt_mel(component, family, directory),
        origin="" if directory is None else str(directory.yaml.absolute()),
    )


def _check_family(model: ModelSettings, component: ComponentName) -> None:
    if model.family in (Family.module, Family.onnx) and component is not ComponentName.estimator:
        raise ConfigurationError(
            f"component={component.value} is a network of CosyVoice, but model={model.family.value} has one network "
            "only.",
            hint="Next: remove component, or remove model.",
        )


def _check_cache(model: ModelSettings, part: Component, family: Family) -> None:
    """Check that the settings `model.cache` and `model.cache_frames` fit the model.

    Raises:
        ConfigurationError: the component has no cache, `model.cache_frames` is set without `model.cache`, the
            version has no streaming variant, or `model.streaming` is false.
    """
    if part.name is ComponentName.vocoder or (family in part.streaming and family not in part.cached):
        window = "it computes windows of a stream already"
        raise ConfigurationError(
            f"model.cache=true, but component={part.name.value} of {family.value} has no cache: {window}.",
            hint="Next: build component=estimator with model.cache=true, and this component without it.",
        )
    if not model.cache:
        raise ConfigurationError(
            f"model.cache_frames={model.cache_frames} has no effect without model.cache=true.",
            hint="Next: add model.cache=true, or remove model.cache_frames.",
        )
    if not FAMILIES[family].streaming:
        raise ConfigurationError(
            f"model.cache=true is not possible: {cache_fault(family, {}, None)}.",
            hint="Next: remove model.cache, or build CosyVoice 2 or 3.",
        )
    if not model.streaming:
        raise ConfigurationError(
            "model.cache=true, but model.streaming=false: with full attention every frame changes when a frame is "
            "added, so nothing can be kept.",
            hint="Next: add model.streaming=true, or remove model.cache.",
        )


@convert_permission_errors()
def directory_and_family(
    model: ModelSettings, model_dir: str | None, component: ComponentName, files: Sequence[str]
) -> tuple[Path | None, Family]:
    """Return the path of the model directory, or None for random weights, and the CosyVoice version.

    A build of several components uses it to find the directory once.

    Args:
        model, model_dir, component: see `resolve_subject`.
        files: the names of the files to download from a hub besides the yaml.

    Raises:
        ModelDirectoryError, ConfigurationError: see `resolve_subject`.
    """
    _check_family(model, component)
    directory = None if model_dir is None else read_model_directory(locate(model_dir, files), lambda *_: {})
    return None if directory is None else directory.path, _family(model, directory)


def _of_file(part: GraphFile, model: ModelSettings, model_dir: str | None, dynamic_batch: bool) -> Subject:
    """Return the `Subject` for an ONNX file of a model directory.

    Raises:
        ModelDirectoryError: the directory does not contain the file.
        ConfigurationError: there is no directory, or a setting cannot apply to a finished graph.
    """
    chosen = f"component={part.name.value}"
    if model_dir is None:
        raise ConfigurationError(
            f"{chosen} builds an ONNX file of a model directory, but model_dir is not set.",
            hint="Next: model_dir=DIR; or build a file that is elsewhere with model=onnx model.path=FILE.",
        )
    for setting, value in (
        ("model.streaming", model.streaming),
        ("model.cache", model.cache),
        ("model.weights", model.weights),
        ("model.hyperparameters", model.hyperparameters),
        ("export.dynamic_batch", dynamic_batch),
    ):
        if value:
            raise ConfigurationError(
                f"{setting}={value} cannot change {chosen}, which is a finished ONNX file of the model directory.",
                hint=f"Next: remove {setting}.",
            )
    directory = read_model_directory(locate(model_dir, part.names), lambda *_: {})
    path = part.take(directory.path, _family(model, directory))
    stem, origin = artifact_stem(model, path.stem), str(directory.yaml.absolute())
    return Subject(Family.onnx, part.spec, {}, graph=path, stem=stem, origin=origin, component=part.name)


def _family(model: ModelSettings, directory: ModelDirectory | None) -> Family:
    asked = model.family
    if directory is None:
        return Family.cosyvoice2 if asked is Family.auto else asked
    if asked not in (Family.auto, directory.family):
        raise ModelDirectoryError(
            f"model={asked.value} is set, but {directory.path} is {directory.family.value}, because "
            f"{directory.yaml.name} has an estimator of that version.",
            hint=f"Next: model={directory.family.value}, or remove model, so that the directory determines it.",
        )
    return directory.family


def _solver(part: Component, directory: ModelDirectory | None) -> Solver | None:
    if not part.has_solver:
        return None
    return Solver() if directory is None else directory.solver


def _prompt_mel(component: ComponentName, family: Family, directory: ModelDirectory | None) -> Mapping[str, Any] | None:
    if component is not ComponentName.frontend:
        return None
    return PROMPT_MELS[family] if directory is None else directory.prompt_mel


def _hyperparameters(
    part: Component, model: ModelSettings, family: Family, directory: ModelDirectory | None
) -> dict[str, Any]:
    overrides = model.hyperparameters or {}
    if not isinstance(overrides, Mapping):
        raise ConfigurationError(f"model.hyperparameters={overrides!r}; expected {{name: value, ...}}.")
    if directory is not None:
        if overrides:
            raise ConfigurationError(
                f"model.hyperparameters sets {', '.join(overrides)}, but {directory.yaml} has the model's "
                "hyper-parameters.",
                hint="Next: remove model.hyperparameters, or model_dir.",
            )
        return dict(directory.hyperparameters)
    known = part.published[family]
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"model.hyperparameters.{name}: {family.value} has no such hyper-parameter"
                f"{f'; did you mean {near[0]}' if near else ''}. It has: {', '.join(known)}."
            )
    values = {name: _frozen(overrides.get(name, default)) for name, default in known.items()}
    fault = part.fault(family, values)
    if fault is not None:
        raise ConfigurationError(f"model.hyperparameters: {fault}.")
    return values


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
