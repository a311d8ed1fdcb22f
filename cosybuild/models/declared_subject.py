"""The `Subject` of a model whose inputs and outputs the user declares: `model=module` or `model=onnx`."""

from __future__ import annotations

from pathlib import Path

from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import ConfigurationError, ModelDirectoryError
from cosybuild.models.artifact_name import artifact_stem
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.models.user_module.declared import declared_spec, file_of_target, is_declared
from cosybuild.models.weights_of_build import weights_fields


def declared_subject(model: ModelSettings, dynamic_batch: bool) -> Subject:
    """Return the `Subject`, the resolved model, for `model=module` or `model=onnx`.

    Args:
        model: the settings of the group `model`.
        dynamic_batch: the setting `export.dynamic_batch`; True is an error here.

    Raises:
        ModelDirectoryError: the ONNX file does not exist.
        CheckpointError: the weights file is missing.
        ConfigurationError: a setting does not apply to such a model, or a declaration is not valid.
    """
    if dynamic_batch:
        raise ConfigurationError(
            f"export.dynamic_batch=true has no effect with model={model.family.value}, whose axes are declared.",
            hint="Next: give the batch axis a name in model.inputs and model.outputs.",
        )
    for setting, value in (("streaming", model.streaming), ("cache", model.cache)):
        if value:
            raise ConfigurationError(
                f"model.{setting}=true, but model={model.family.value} has no streaming variant.",
                hint=f"Next: remove model.{setting}.",
            )
    if model.family is Family.onnx:
        if model.path is None:
            raise ConfigurationError("model=onnx needs a graph.", hint="Next: model.path=FILE.onnx.")
        path = Path(model.path).expanduser()
        if not path.is_file():
            raise ModelDirectoryError(
                f"model.path={model.path} is not a file.", hint="Next: give an existing ONNX file."
            )
        complete = is_declared(model.inputs) and is_declared(model.outputs)
        # Code that reads the ONNX file completes the declarations later. This package reads no graphs.
        spec = declared_spec(model) if complete else ModelSpec((), ())
        return Subject(
            Family.onnx, spec, {}, graph=path, stem=artifact_stem(model, path.stem), origin=str(path.absolute())
        )
    spec = declared_spec(model)
    file = file_of_target(model.target)
    return Subject(
        Family.module,
        spec,
        {"target": model.target, **({"arguments": dict(model.arguments)} if model.arguments else {})},
        **weights_fields(model, "", None),
        seed=model.seed,
        stem=artifact_stem(model, str(model.target["_target_"]).rpartition(".")[2].lower()),
        origin=str(file),
    )
