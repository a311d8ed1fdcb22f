"""Checks of settings that the schema cannot express: ranges of values, and contradictions between settings."""

from __future__ import annotations

from pathlib import Path

from cosybuild.config.groups.export import Attention, Exporter
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.openvino import OvPrecision
from cosybuild.config.groups.precision import Method, Target
from cosybuild.config.groups.vocoder import F0Type
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.filename import fault_of
from cosybuild.signing import key_fingerprint

OPSETS = range(17, 24)


_MOST_STEPS = 1000


def check(settings: Settings) -> None:
    """Raise an error for settings that contradict each other or are out of range.

    Raises:
        ConfigurationError: names the setting, or both sides of the contradiction, and says how to resolve it.
    """
    for rule in (
        _opset,
        _static,
        _open_families,
        _weights,
        _verify,
        _precision,
        _openvino,
        _vocoder,
        _benchmark,
        _deploy,
    ):
        rule(settings)


def _opset(settings: Settings) -> None:
    export = settings.export
    if export.opset not in OPSETS:
        raise ConfigurationError(
            f"export.opset={export.opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}.",
            hint="Next: choose one of export=opset17, opset18, opset20, opset23, or set export.opset=N.",
        )
    if export.exporter is Exporter.dynamo and export.opset < 18:
        raise ConfigurationError(
            f"export.exporter=dynamo cannot write opset {export.opset}: torch's dynamo exporter starts at 18 and "
            "would write opset 18 without a message.",
            hint="Next: export.exporter=torchscript, which writes 17; or keep dynamo with export=opset18.",
        )
    if export.attention is Attention.operator:
        _attention_operator(settings)


def _attention_operator(settings: Settings) -> None:
    export, family = settings.export, settings.model.family
    if export.opset < 23:
        raise ConfigurationError(
            f"export.attention=operator at opset {export.opset}: ONNX has the operator Attention since opset 23.",
            hint="Next: export=opset23, or export.attention=spelled.",
        )
    if export.exporter is not Exporter.torchscript or family in (Family.module, Family.onnx):
        with_it = "export.exporter=dynamo" if export.exporter is Exporter.dynamo else f"model={family.value}"
        raise ConfigurationError(
            f"export.attention=operator with {with_it}: only cosybuild's CosyVoice estimators with the torchscript "
            "exporter can write it.",
            hint="Next: export.attention=spelled; the code of another module determines its operators.",
        )


def _open_families(settings: Settings) -> None:
    model = settings.model
    given = {"model.target": model.target, "model.path": model.path}
    wanted = {Family.module: "model.target", Family.onnx: "model.path"}.get(model.family)
    if wanted is not None:
        if not given[wanted]:
            raise ConfigurationError(
                f"model={model.family.value} needs {wanted}, which is not set.",
                hint="Next: see the comments in conf/model/"
                f"{model.family.value}.yaml, or `python -m cosybuild --cfg job model={model.family.value}`.",
            )
        if settings.model_dir is not None:
            raise ConfigurationError(
                f"model_dir={settings.model_dir} is a CosyVoice model directory, but model={model.family.value} reads "
                f"its model from {wanted}.",
                hint="Next: remove one of the two.",
            )
        if model.family is Family.module and not (model.inputs and model.outputs):
            raise ConfigurationError(
                f"model={model.family.value} declares {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
                "at least one of each is expected, because export, verification and profiles need them.",
                hint="Next: declare model.inputs and model.outputs as name, shape and dtype.",
            )
    for setting, value in given.items():
        if value and setting != wanted:
            raise ConfigurationError(
                f"{setting} is set, but model.family={model.family.value} does not read it.",
                hint=f"Next: {'model=module' if setting == 'model.target' else 'model=onnx'}, or remove {setting}.",
            )


def _weights(settings: Settings) -> None:
    model = settings.model
    if model.weights is not None and model.family is Family.onnx:
        raise ConfigurationError(
            f"model.weights={model.weights} has no effect with model=onnx, because the file model.path has the "
            "weights.",
            hint="Next: remove model.weights.",
        )


def _verify(settings: Settings) -> None:
    verify = settings.verify
    if verify is None:
        return
    for name in ("rtol", "atol"):
        value = getattr(verify, name)
        if not 0 <= value < 1:
            raise ConfigurationError(f"verify.{name}={value} is not a tolerance; 0 <= {name} < 1 is expected.")
    if verify.threads < 1:
        raise ConfigurationError(f"verify.threads={verify.threads}; expected at least 1.")
    if verify.repeat < 0:
        raise ConfigurationError(f"verify.repeat={verify.repeat}; expected at least 0.")
    steps = None if verify.solver is None else verify.solver.steps
    if steps is not None and not 1 <= steps <= _MOST_STEPS:
        raise ConfigurationError(f"verify.solver.steps={steps}; expected 1 to {_MOST_STEPS}.")


def _static(settings: Settings) -> None:
    for axis, size in settings.export.static.items():
        if size < 1:
            raise ConfigurationError(f"export.static has {axis}: {size}; expected at least 1.")


def _precision(settings: Settings) -> None:
    trt, target = settings.trt, settings.precision.target.value
    if trt is not None and trt.precision is not None and trt.precision != target:
        raise ConfigurationError(
            f"trt={trt.precision} builds an engine in {trt.precision}, but precision={target} is set, and an engine "
            "computes in the types of its graph.",
            hint=f"Next: trt={trt.precision} alone, or precision={target} with trt={target}.",
        )
    if settings.precision.method is Method.search:
        if settings.verify is None:
            raise ConfigurationError(
                "precision.method=search searches for nodes until the gates of verification pass, but verify=off has "
                "no gates.",
                hint="Next: remove verify=off, or use precision=fp16.",
            )
        if settings.precision.target in (Target.fp32, Target.tf32):
            raise ConfigurationError(
                f"precision.method=search cannot search: precision.target={target} lowers no node.",
                hint="Next: precision=auto, or precision.target=bf16 with it.",
            )


def _openvino(settings: Settings) -> None:
    ov = settings.ov
    if ov is None:
        return
    if ov.keep_fp32 and ov.precision is OvPrecision.fp32:
        raise ConfigurationError(
            f"ov.keep_fp32={list(ov.keep_fp32)} has no effect with ov.precision=fp32, because every operator computes "
            "in float32.",
            hint="Next: ov=bf16, or remove ov.keep_fp32.",
        )
    if not 0 <= ov.max_fp32_share <= 1:
        raise ConfigurationError(f"ov.max_fp32_share={ov.max_fp32_share}; expected 0 to 1.")


def _vocoder(settings: Settings) -> None:
    if settings.vocoder.f0 is F0Type.float64 and settings.ov is not None:
        raise ConfigurationError(
            "vocoder.f0=float64 with an OpenVINO IR: OpenVINO would compute float64 in float32 without an error.",
            hint="Next: ov=none, for ONNX Runtime; or remove vocoder.f0 for an IR.",
        )
    if settings.vocoder.f0 is F0Type.float64 and settings.trt is not None:
        raise ConfigurationError(
            "vocoder.f0=float64 with an engine: TensorRT would compute float64 in float32 without an error.",
            hint="Next: trt=none, for ONNX Runtime; or remove vocoder.f0 for an engine.",
        )


def _deploy(settings: Settings) -> None:
    deploy = settings.deploy
    if deploy is None:
        return
    if not deploy.dir:
        raise ConfigurationError(
            f"deploy={deploy.service.value} needs deploy.dir, the directory in service, which is not set.",
            hint="Next: deploy.dir=/models/CosyVoice2-0.5B, or deploy=none.",
        )
    if deploy.keep_backups < 1:
        raise ConfigurationError(
            f"deploy.keep_backups={deploy.keep_backups}; at least 1 is expected, so that the last deployment can be "
            "undone."
        )
    if deploy.sign is not None:
        key_fingerprint(Path(deploy.sign), private=True)  # before the build, not at its end
    if deploy.triton.model is not None and (fault := fault_of(deploy.triton.model)) is not None:
        raise ConfigurationError(
            f"deploy.triton.model={deploy.triton.model!a} is not a valid directory name: it {fault}.",
            hint="Next: deploy.triton.model=NAME with a plain name, such as `estimator`.",
        )
    for name in ("version", "instances"):
        value = getattr(deploy.triton, name)
        if value < 1:
            raise ConfigurationError(f"deploy.triton.{name}={value}; expected at least 1.")
    if deploy.triton.token_base < 0:
        raise ConfigurationError(f"deploy.triton.token_base={deploy.triton.token_base}; expected at least 0.")


def _benchmark(settings: Settings) -> None:
    benchmark = settings.benchmark
    if benchmark is None:
        return
    for name, low, high in (("confidence", 0.5, 1.0), ("half_width", 0.0, 1.0)):
        value = getattr(benchmark, name)
        if not low < value < high:
            raise ConfigurationError(f"benchmark.{name}={value}; expected more than {low:g} and less than {high:g}.")
    for name in ("margin", "max_seconds", "warmup_seconds", "threads"):
        if getattr(benchmark, name) < 0:
            raise ConfigurationError(f"benchmark.{name}={getattr(benchmark, name)}; expected at least 0.")
    if not 1 <= benchmark.min_rounds <= benchmark.max_rounds:
        raise ConfigurationError(
            f"benchmark.min_rounds={benchmark.min_rounds}, benchmark.max_rounds={benchmark.max_rounds}; "
            "expected 1 <= min_rounds <= max_rounds."
        )
    for name in ("lengths", "batches"):
        sizes = list(getattr(benchmark, name))
        if min(sizes, default=1) < 1:
            raise ConfigurationError(f"benchmark.{name}={sizes}; expected sizes of at least 1.")
