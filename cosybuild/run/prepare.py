"""The preparation of a run: its request, its source files and its store, without an import of torch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cosybuild.building.wiring import in_part
from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.deploy import Service
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.store import StoreSettings
from cosybuild.config.settings import Settings
from cosybuild.dtypes import DTYPES
from cosybuild.errors import ConfigurationError
from cosybuild.models.components.registry import GRAPH_FILES, lacks_script
from cosybuild.models.real_inputs import check_inside
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.shape_profile import BATCH
from cosybuild.models.spec import ModelSpec
from cosybuild.models.static_shapes import with_static_shapes
from cosybuild.models.subject import Subject
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.onnxgraph.file_declaration import TEST_VALUES, describe_test_values, spec_of_graph
from cosybuild.onnxgraph.file_spec import spec_of_file
from cosybuild.precision.calibration import calibration_files
from cosybuild.report.metrics_check import fault_of
from cosybuild.request import Request
from cosybuild.run.deployment import check_deployment
from cosybuild.run.real_inputs import read_given
from cosybuild.run.voice import voice_request
from cosybuild.stages.precision import LOWERED
from cosybuild.store.artifact import Artifact
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from cosybuild.system.files import convert_disk_errors
from cosybuild.system.modes import open_to_group


def request_from_settings(settings: Settings) -> Request:
    """Resolve the model of the settings and return the request.

    Raises:
        ModelError: the model directory, or a file that it names, is missing or unusable; external data are refused; or
            an ONNX file of the directory has other inputs or outputs than its component.
        ConfigurationError: the profile does not fit the model, or the variant does not exist.
        DeployError: a condition of the deployment does not hold.
    """
    if settings.component.name is ComponentName.token2wav:
        request = voice_request(settings, _subject, _request)
    else:
        request = _request(settings, _subject(settings))
        _check_service(request)
    check_deployment(request)
    return request


def _check_service(request: Request) -> None:
    """Raise an error for a deployment to a runtime that cannot load any file of this network.

    Raises:
        ConfigurationError: CosyVoice's runtime computes this network in PyTorch.
    """
    deploy, subject = request.settings.deploy, request.subject
    if deploy is not None and deploy.service is Service.cosyvoice and lacks_script(subject.component, subject.family):
        raise ConfigurationError(
            f"deploy=cosyvoice has no file of component={subject.component.value} of {subject.family.value}: the "
            "front end of this version has no encoder, and CosyVoice's runtime computes it in PyTorch.",
            hint="Next: deploy=bundle, or component=token2wav for the other parts.",
        )


def _subject(settings: Settings) -> Subject:
    batched = BATCH in settings.export.static and settings.component.name is ComponentName.estimator
    batched = batched and settings.model.family not in (Family.module, Family.onnx)
    dynamic_batch = settings.export.dynamic_batch or batched
    return resolve_subject(settings.model, settings.model_dir, dynamic_batch, settings.component.name, settings.vocoder)


def _request(settings: Settings, subject: Subject) -> Request:
    static, graph = settings.export.static, subject.graph
    if graph is not None:
        names = check_external_data(graph)
        subject = replace(subject, graph_data=tuple(graph.parent / name for name in names))
        if subject.component in GRAPH_FILES:
            subject = replace(subject, spec=spec_of_file(graph, subject.spec))
        elif not subject.spec.inputs:
            spec = spec_of_graph(graph, settings.model)
            subject = replace(subject, spec=spec, notes=(*subject.notes, *describe_test_values(spec)))
    if static:
        subject = with_static_shapes(subject, static)
    check = None if settings.verify is None else settings.verify.solver
    if subject.solver is not None and check is not None and check.steps is not None:
        subject = replace(subject, solver=replace(subject.solver, steps=check.steps))
    if settings.trt is not None:
        _check_engine_types(subject.spec)
    request = _with_given(Request(settings, subject))
    subject = request.subject
    profiles = request.profiles  # computed here, so that an error of a profile is raised before other errors
    check_inside(request.given, profiles, subject.spec)
    if request.has_default_ranges and any(profiles):
        sizes = ", ".join(f"{axis} {size.min} to {size.max}" for axis, size in profiles[0].items())
        why = "the axes have the sizes of verify.inputs" if request.given else "so the axes have small ranges"
        note = f"no trt_profile was chosen, {why}: {sizes}; trt_profile.profiles states others"
        request = replace(request, subject=replace(subject, notes=(*subject.notes, note)))
    return request


def _with_given(request: Request) -> Request:
    """Return the request with the batches of `verify.inputs` and a note that names them.

    Raises:
        ConfigurationError, ModelError: see `read_given`.
    """
    verify = request.settings.verify
    if verify is None or verify.inputs is None:
        return request
    given, place = read_given(verify.inputs, request.subject.spec)
    total = ", ".join(batch.name for batch in given[:3]) + (" and others" if len(given) > 3 else "")
    note = f"verify.inputs gives {len(given)} batch{'es' if len(given) > 1 else ''} of real inputs: {total}"
    notes = tuple(line for line in request.subject.notes if not line.startswith(TEST_VALUES))
    subject = replace(request.subject, notes=(*notes, note))
    return replace(request, subject=subject, given=given, given_directory=place)


def _check_engine_types(spec: ModelSpec) -> None:
    """Raise an error if TensorRT does not have the type of an input or output.

    Raises:
        ConfigurationError: names the first such input or output.
    """
    for tensor in (*spec.inputs, *spec.outputs):
        if not DTYPES[tensor.dtype].tensorrt:
            raise ConfigurationError(
                f"TensorRT has no {tensor.dtype}, which '{tensor.name}' is, so that no engine can be built.",
                hint="Next: trt=none, for the ONNX artifact alone; or cast the value to another type in the model.",
            )


def sources_of(request: Request, store: Store) -> dict[str, Artifact]:
    """Return the files that a build starts from: slot -> artifact.

    They are the weights or an existing graph, and the calibration inputs. In a joint build, the slots are named
    `part.slot`.

    Args:
        request: the request of the build.
        store: the store, whose digest cache is used. The files are not copied into it.

    Raises:
        StoreError: a file is missing or cannot be read.
    """
    if request.parts:
        return {
            in_part(part, slot): artifact
            for part, one in request.parts.items()
            for slot, artifact in sources_of(one, store).items()
        }
    sources = {}
    subject = request.subject
    if subject.weights is not None:
        sources["weights"] = store.source("weights", subject.weights, *subject.weights_data)
    if subject.graph is not None:
        sources["graph"] = store.source("graph", subject.graph, *subject.graph_data)
    precision = request.settings.precision
    if precision.calibration is not None and precision.target in LOWERED:
        sources["calibration"] = store.source("calibration", *calibration_files(precision.calibration))
    return sources


def planning_store(settings: StoreSettings | None, warn: Callable[[str], None]) -> Store:
    """Return the store for planning. With `store=off`, it has no directory, because planning writes nothing.

    Args:
        settings: the settings of the store; None for `store=off`.
        warn: called with a message if anything in the store is damaged.
    """
    path = Path("outputs/.no-store") if settings is None else Path(settings.path)
    return Store(path, verify=settings is not None and settings.verify, warn=warn, judge=fault_of)


@contextmanager
def open_store(settings: StoreSettings | None, warn: Callable[[str], None]) -> Iterator[Store]:
    """Yield the store for a build. With `store=off`, it is an empty store that is removed afterwards.

    Args:
        settings: the settings of the store; None for `store=off`.
        warn: called with a message if anything in the store is damaged, lost or out of reach.
    """
    if settings is None:
        # Make the store on the file system of the run directory, so that artifacts can be reflinked.
        base = Path("outputs")
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".store-", dir=base) as path:
            yield Store(Path(path), warn=warn)
        return
    if settings.shared:
        with convert_disk_errors("share", settings.path):
            open_to_group(Path(settings.path))
    remote = Remote(settings.remote, settings.remote_options, push=settings.push) if settings.remote else None
    yield Store(
        Path(settings.path),
        remote=remote,
        verify=settings.verify,
        wait_seconds=settings.wait_seconds,
        warn=warn,
        judge=fault_of,
    )
