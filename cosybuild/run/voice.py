"""The joint build of a voice (`component=token2wav`): one request for each of its networks, all in one plan.

The networks, called parts, compute a waveform from speech tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.deploy import Service
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.vocoder import Cut
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.models.components.registry import COMPONENTS, GRAPH_FILES, lacks_script
from cosybuild.models.resolve import directory_and_family
from cosybuild.models.shape_profile import FRAMES, for_model
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.request import Request

STEM = "token2wav"
_PARTS = (ComponentName.frontend, ComponentName.estimator, ComponentName.vocoder, *GRAPH_FILES)
"""The parts of a voice, in the order of the plan."""


def voice_request(
    settings: Settings, resolve: Callable[[Settings], Subject], request_of: Callable[[Settings, Subject], Request]
) -> Request:
    """Return the request of `component=token2wav`, which builds several networks (parts) in one plan.

    The request of each part is the same as for a build of that part alone, and so are the keys. An ONNX file that the
    directory does not have is left out, and a note says so.

    Args:
        settings: the configuration.
        resolve: called with the settings of one part; returns its subject, which is the resolved model. It is called
            once for each part.
        request_of: called with the settings and the subject of one part; returns its request.

    Raises:
        ConfigurationError: a setting applies to one network only.
        ModelError: raised by `resolve` or `request_of`.
    """
    _check(settings)
    files = [*(part.weights for part in COMPONENTS.values()), *(n for file in GRAPH_FILES.values() for n in file.names)]
    directory, family = directory_and_family(settings.model, settings.model_dir, ComponentName.token2wav, files)
    located = settings if directory is None else dataclasses.replace(settings, model_dir=str(directory))
    notes, settings_of = [], {}
    for name in _PARTS:
        shipped = GRAPH_FILES.get(name)
        if shipped is not None and (directory is None or shipped.find(directory, family) is None):
            where = "there is no model_dir" if directory is None else f"{settings.model_dir} does not have it"
            notes.append(f"{name.value} is not built: it is {' or '.join(shipped.files[family])}, and {where}")
            continue
        settings_of[name] = _of_part(located, name, family)
    if settings.deploy is not None and settings.deploy.service is Service.cosyvoice:
        notes += [f"{name.value} is not deployed: the runtime of {family.value} computes it in PyTorch"
                  for name in settings_of if lacks_script(name, family)]  # fmt: skip
    subjects = {name: resolve(one) for name, one in settings_of.items()}
    _check_axes(settings, (subject.spec for subject in subjects.values()))
    requests = {
        name.value: request_of(_applicable_settings(one, subjects[name].spec), subjects[name])
        for name, one in settings_of.items()
    }
    if settings.verify is not None and settings.vocoder.cut is not Cut.none:
        notes.append("the whole voice is not verified: vocoder.cut=spectrum ends the vocoder before its waveform")
    origin = requests[ComponentName.estimator.value].subject.origin
    streaming = settings.model.streaming
    subject = Subject(
        family, ModelSpec((), ()), {}, streaming, stem=STEM, origin=origin, notes=tuple(notes),
        component=ComponentName.token2wav,
    )  # fmt: skip
    environment = next(iter(requests.values())).environment
    parts = {name: dataclasses.replace(request, environment=environment) for name, request in requests.items()}
    return Request(settings, subject, environment, parts)


def _check(settings: Settings) -> None:
    """Raise an error for settings that apply to only one network.

    Raises:
        ConfigurationError: such a setting is set.
    """
    model, precision, deploy = settings.model, settings.precision, settings.deploy
    for name, value in (
        ("model.weights", model.weights),
        ("model.name", model.name),
        ("model.hyperparameters", model.hyperparameters),
        ("export.static", dict(settings.export.static)),
        ("precision.keep_fp32", list(precision.keep_fp32)),
        ("precision.calibration", precision.calibration),
        ("verify.inputs", None if settings.verify is None else settings.verify.inputs),
    ):
        if value:
            raise ConfigurationError(
                f"{name}={value} is about one network, but component=token2wav builds several.",
                hint=f"Next: remove {name}, or build the network alone, for example with component=vocoder.",
            )
    if deploy is not None and deploy.service is Service.triton and settings.vocoder.cut is not Cut.none:
        raise ConfigurationError(
            "deploy=triton needs a vocoder with a waveform, but vocoder.cut=spectrum ends the vocoder before it.",
            hint="Next: remove vocoder.cut, or build the network alone with component=vocoder.",
        )


def _of_part(settings: Settings, name: ComponentName, family: Family) -> Settings:
    """Return the settings with which one part is built alone, without settings that do not apply to it."""
    network = COMPONENTS.get(name)
    model, export = settings.model, settings.export
    if name is not ComponentName.estimator:  # the estimator refuses a setting that its version lacks
        streams = network is not None and family in network.streaming
        caches = model.cache and network is not None and family in network.cached
        frames = model.cache_frames if caches else None
        model = dataclasses.replace(model, streaming=model.streaming and streams, cache=caches, cache_frames=frames)
        batches = network is not None and network.dynamic_batch
        export = dataclasses.replace(export, dynamic_batch=export.dynamic_batch and batches)
    return dataclasses.replace(settings, component=ComponentSettings(name), model=model, export=export)


def _applicable_settings(settings: Settings, spec: ModelSpec) -> Settings:
    """Return the settings of one part with only the profiles, and only the recorded lengths, that apply to it."""
    verify = settings.verify
    # The lengths in verify.lengths are numbers of mel frames. Leave them out for a part without this axis.
    if verify is not None and (settings.component.name in GRAPH_FILES or FRAMES not in spec.symbols):
        verify = dataclasses.replace(verify, lengths=None)
    return dataclasses.replace(settings, verify=verify, trt_profile=for_model(settings.trt_profile, spec))


def _check_axes(settings: Settings, specs: Iterable[ModelSpec]) -> None:
    """Raise an error for a profile with an axis that no part has. Otherwise a misspelt axis would be ignored.

    Raises:
        ConfigurationError: there is such an axis.
    """
    known = list(dict.fromkeys([FRAMES, *(symbol for spec in specs for symbol in spec.symbols)]))
    for ranges in settings.trt_profile.profiles:
        for symbol in ranges:
            if symbol not in known:
                raise ConfigurationError(
                    f"trt_profile '{settings.trt_profile.name}' gives a range for the axis '{symbol}', which no part "
                    f"has (dynamic axes: {', '.join(known)}).",
                    hint="Next: name one of them; export.dynamic_batch=true makes the estimator's batch dynamic.",
                )
