"""Find the network of a model directory that has the same inputs and outputs as an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cosybuild.certifying.ports import Ports, assign, describe_ports
from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.vocoder import Cut, VocoderSettings
from cosybuild.config.settings import Settings
from cosybuild.directory_in_service import STATE
from cosybuild.errors import ConfigurationError, ModelError
from cosybuild.manifest import damage, fitting_manifest
from cosybuild.models.components.registry import COMPONENTS, GRAPH_FILES
from cosybuild.models.resolve import directory_and_family, resolve_subject
from cosybuild.models.shape_profile import BATCH, FRAMES, for_model
from cosybuild.models.spec import ModelSpec
from cosybuild.onnxgraph.header import GraphHeader, read_header
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings


@dataclass(frozen=True)
class Match:
    """A network of the model directory that fits the inputs and outputs of a file.

    Attributes:
        settings: settings that build this network with the same fixed and dynamic axes as the file.
        ports: the meaning of the file's inputs and outputs.
        variants: the values of `model.streaming` for which the network computes different functions.
    """

    settings: Settings
    ports: Ports
    variants: tuple[bool, ...]

    @property
    def component(self) -> ComponentName:
        """The name of the network."""
        return self.settings.component.name


class Unmatched(Exception):
    """No network, or more than one, fits the inputs and outputs of the file. The message lists them."""


class NotCompared(Exception):
    """The file is a network that is published only as ONNX, so there is no PyTorch module to compare it with."""


def locate_model(settings: Settings) -> Settings:
    """Return a copy of the settings in which `model_dir` is a local path; a hub id is downloaded.

    Raises:
        ConfigurationError: `model_dir` is not set, or the model is not CosyVoice.
        ModelDirectoryError: the directory is missing or unreadable.
    """
    if settings.model_dir is None:
        raise ConfigurationError(
            "certify compares files with the networks of a model directory, but model_dir is not set.",
            hint="Next: python -m cosybuild certify model_dir=DIR [FILE ...]",
        )
    files = [part.weights for part in COMPONENTS.values()]
    directory, _ = directory_and_family(settings.model, settings.model_dir, ComponentName.token2wav, files)
    return settings if directory is None else replace(settings, model_dir=str(directory))


def match(name: str, header: GraphHeader, settings: Settings) -> Match:
    """Return the network that fits the inputs and outputs of an ONNX file.

    A network that fits by the names of inputs and outputs is preferred to one that fits only by their order.

    Args:
        name: the file's name, by which files that are published as ONNX are recognised.
        header: the file's inputs and outputs.
        settings: the result of `locate_model`.

    Raises:
        Unmatched: no network fits, or several networks fit only by the order of inputs and outputs.
        NotCompared: the file is a speaker model or a speech tokenizer.
    """
    for file in GRAPH_FILES.values():
        if name in file.names and not isinstance(assign(header, file.spec), str):
            raise NotCompared(
                f"{name} is component={file.name.value}, which is published as ONNX only: no PyTorch module exists "
                "to compare it with"
            )
    found: list[Match] = []
    reasons: list[str] = []
    for word, one, spec in _candidates(settings):
        if isinstance(spec, str):
            reasons.append(f"{word}: {spec}")
            continue
        ports = assign(header, spec)
        if isinstance(ports, str):
            reasons.append(f"{word}: {ports}; expected are inputs {describe_ports(spec.inputs)} and outputs "
                           f"{describe_ports(spec.outputs)}")  # fmt: skip
        else:
            found.append(Match(_of_form(one, spec, ports), ports, _variants(one)))
    exact = [one for one in found if one.ports.by_name] or found
    if len(exact) == 1:
        return exact[0]
    own = f"It has inputs {describe_ports(header.inputs)} and outputs {describe_ports(header.outputs)}."
    if exact:
        raise Unmatched(f"{own} By position it could be {' or '.join(one.component.value for one in exact)}.")
    raise Unmatched(f"{own} {'. '.join(reasons)}.")


def _candidates(settings: Settings) -> Iterator[tuple[str, Settings, ModelSpec | str]]:
    """Yield each network of the model directory, the vocoder once for each `Cut`.

    Yields:
        The name of the network for messages, settings that build it, and its inputs and outputs. If the model directory
        lacks the network, the third value is the reason as a text.
    """
    for name, part in COMPONENTS.items():
        for cut in Cut if name is ComponentName.vocoder else (Cut.none,):
            word = f"{name.value}{'' if cut is Cut.none else f' ({cut.value})'}"
            model = replace(settings.model, streaming=False)
            vocoder = VocoderSettings(cut, settings.vocoder.f0)
            one = replace(settings, component=ComponentSettings(name), model=model, vocoder=vocoder)
            try:
                subject = resolve_subject(model, settings.model_dir, part.dynamic_batch, name, vocoder)
            except ModelError as error:
                yield word, one, error.message
                continue
            yield word, one, subject.spec


def _variants(settings: Settings) -> tuple[bool, ...]:
    """Return the values of `model.streaming` for which the network exists and computes different functions."""
    component = settings.component.name
    variants = []
    for streaming in (False, True):
        model = replace(settings.model, streaming=streaming)
        try:
            subject = resolve_subject(model, settings.model_dir, False, component, settings.vocoder)
        except ConfigurationError:  # this version has no streaming variant
            continue
        # A front end without attention, as in version 3, computes the same function in both variants.
        if streaming and component is ComponentName.frontend and "chunk_size" not in subject.hyperparameters:
            continue
        variants.append(streaming)
    return tuple(variants)


def _of_form(settings: Settings, spec: ModelSpec, ports: Ports) -> Settings:
    """Return settings that build the network with the same fixed and dynamic axes as the file.

    Args:
        settings: the settings of the network.
        spec: its inputs and outputs.
        ports: the file's inputs and outputs, with the sizes of fixed axes.
    """
    static = {axis: size for axis, size in ports.sizes.items() if (axis, size) != (BATCH, 2)}
    dynamic = BATCH in spec.symbols and BATCH not in ports.sizes
    export = replace(settings.export, dynamic_batch=dynamic, static=static)
    verify = settings.verify
    if verify is not None and FRAMES not in spec.symbols:
        verify = replace(verify, lengths=None)
    fixed = replace(spec, inputs=tuple(replace(t, shape=_without_batch(t.shape, dynamic)) for t in spec.inputs))
    profile = for_model(settings.trt_profile, fixed)
    return replace(settings, export=export, verify=verify, trt_profile=profile)


def _without_batch(shape: tuple[int | str, ...], dynamic: bool) -> tuple[int | str, ...]:
    return tuple(2 if size == BATCH and not dynamic else size for size in shape)


def requests_of(found: Match) -> dict[bool, Request]:
    """Return the request of a build of the network for each value of `model.streaming` in `found.variants`.

    Raises:
        ConfigurationError: the network cannot be built with the fixed axes of the file.
    """
    settings = found.settings
    return {
        streaming: request_from_settings(replace(settings, model=replace(settings.model, streaming=streaming)))
        for streaming in found.variants
    }


_CACHES = {"conv_cache", "att_cache"}
"""The inputs of a network with caches."""


def certifiable_files(directory: Path) -> list[Path]:
    """Return the ONNX files in and below a directory, sorted by path, without those in the backups of deployments.

    A file with the manifest of a build is returned too, because anybody can write a manifest.
    """
    files = (path for path in sorted(directory.rglob("*.onnx")) if STATE not in path.relative_to(directory).parts)
    return [path for path in files if path.is_file()]


def has_build_manifest(path: Path) -> bool:
    """Return True if a manifest beside a file states that a build made this content."""
    try:
        manifest = fitting_manifest(path)
    except ValueError:
        return False
    return manifest is not None and "certified" not in manifest and damage(path, manifest) is None


def has_no_counterpart(path: Path) -> bool:
    """Return True for a network that cosybuild builds and does not compare: one with caches or with bfloat16 inputs.

    The inputs of the file decide, because anybody can write the manifest.
    """
    try:
        inputs = read_header(path).inputs
    except (ValueError, OSError):
        return False
    return {one.name for one in inputs} >= _CACHES or any(one.dtype == "bfloat16" for one in inputs)
