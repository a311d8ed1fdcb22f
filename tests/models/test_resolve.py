"""The resolution of settings to a subject, without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.errors import (
    CheckpointError,
    ConfigurationError,
    CosybuildError,
    MissingRequirement,
    ModelDirectoryError,
)
from cosybuild.models.directory import hub
from cosybuild.models.resolve import resolve_subject
from tests.models.fixtures import VERSIONS, tiny_directory

ORDER = ["x", "mask", "mu", "t", "spks", "cond"]


def resolve(model_dir: str | Path | None = None, dynamic_batch: bool = False, **settings: Any) -> Any:
    return resolve_subject(ModelSettings(**settings), None if model_dir is None else str(model_dir), dynamic_batch)


def test_no_heavy_package_is_imported() -> None:
    code = (
        "import sys; from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings\n"
        "from cosybuild.models.resolve import resolve_subject\n"
        f"resolve_subject(ModelSettings(), {str(tiny_directory(2))!r}, False)\n"
        "resolve_subject(ModelSettings(family=Family.cosyvoice3), None, True)\n"
        "one = (TensorSettings(name='x', shape=(1,)),)\n"
        "two = (TensorSettings(name='y', shape=(1,)),)\n"
        "target = {'_target_': 'torch.nn.Identity'}\n"
        "resolve_subject(ModelSettings(family=Family.module, target=target, inputs=one, outputs=two), None, False)\n"
        "heavy = ('torch', 'onnx', 'onnxruntime', 'onnxsim', 'numpy', 'tensorrt_rtx', 'huggingface_hub')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_a_directory_the_model_is_cosyvoice2_with_random_weights() -> None:
    subject = resolve(seed=3)
    assert subject.family is Family.cosyvoice2
    assert subject.weights is None
    assert subject.weights_label == "random(seed=3)"
    assert [tensor.name for tensor in subject.spec.inputs] == ORDER
    assert [tensor.shape for tensor in subject.spec.inputs] == [
        (2, 80, "seq_len"), (2, 1, "seq_len"), (2, 80, "seq_len"), (2,), (2, 80), (2, 80, "seq_len"),
    ]  # fmt: skip
    assert [tensor.name for tensor in subject.spec.outputs] == ["estimator_out"]
    assert subject.spec.symbols == ("seq_len",)
    assert subject.spec.guidance
    assert subject.stem == "flow.decoder.estimator"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_is_read_from_the_directory(version: int) -> None:
    subject = resolve(tiny_directory(version), dynamic_batch=True)
    assert subject.family is Family(f"cosyvoice{version}")
    assert subject.weights == tiny_directory(version) / "flow.pt"
    assert subject.spec.symbols == ("batch", "seq_len")
    assert all(tensor.shape[0] == "batch" for tensor in (*subject.spec.inputs, *subject.spec.outputs))
    assert subject.spec.frames_per_second == (22050 / 256 if version == 1 else 50)
    assert Path(subject.origin).is_absolute()
    other = Family.cosyvoice3 if version == 1 else Family.cosyvoice1
    with pytest.raises(ModelDirectoryError, match=rf"model={other.value} is set.*cosyvoice{version}"):
        resolve(tiny_directory(version), family=other)


def test_each_width_of_a_dit_can_be_set() -> None:
    widths = {"mel_dim": 40, "mu_dim": 24, "spk_dim": 12}
    subject = resolve(family=Family.cosyvoice3, hyperparameters=widths)
    shapes = {tensor.name: tensor.shape[1:] for tensor in (*subject.spec.inputs, *subject.spec.outputs)}
    assert shapes["x"] == shapes["cond"] == shapes["estimator_out"] == (40, "seq_len")
    assert shapes["mu"] == (24, "seq_len")
    assert shapes["spks"] == (12,)


def test_the_weights_file_is_found_or_reported_as_missing(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_directory(2), model)
    other = tmp_path / "tuned.safetensors"
    other.touch()
    assert resolve(model, weights=str(other)).weights == other
    with pytest.raises(CheckpointError, match=r"model\.weights=.*missing\.pt"):
        resolve(model, weights=str(tmp_path / "missing.pt"))
    (model / "flow.pt").rename(model / "flow.safetensors")
    assert resolve(model).weights == model / "flow.safetensors"
    (model / "flow.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither flow\.pt nor flow\.safetensors"):
        resolve(model)


SETTINGS = [
    ({"family": Family.cosyvoice1, "streaming": True}, "no streaming variant"),
    ({"hyperparameters": {"n_bloks": 2}}, "did you mean n_blocks"),
    ({"hyperparameters": {"n_blocks": 0}}, "n_blocks is 0"),
    ({"hyperparameters": {"n_blocks": 1.5}}, "n_blocks is 1.5"),
    ({"hyperparameters": {"channels": 4}}, "channels is 4"),
    ({"hyperparameters": {"act_fn": "relu"}}, "act_fn is 'relu'"),
    ({"hyperparameters": {"out_channels": 160}}, "in_channels is 320"),
    ({"family": Family.cosyvoice1, "hyperparameters": {"channels": [12]}}, "multiples of 8"),
    ({"family": Family.cosyvoice3, "hyperparameters": {"dim": 1000}}, "dim is 1000"),
    ({"hyperparameters": [1]}, "expected {name: value"),
]


@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_settings_that_the_model_does_not_support_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(**settings)
    assert expected in str(caught.value)


def test_hyperparameters_are_refused_if_a_directory_states_them() -> None:
    with pytest.raises(ConfigurationError, match="has the model's hyper-parameters"):
        resolve(tiny_directory(2), hyperparameters={"n_blocks": 1})


def test_paths_that_are_no_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "CosyVoice2-0.5B").mkdir()
    with pytest.raises(ModelDirectoryError) as caught:
        resolve(tmp_path / "CosyVoice2-0.5")
    assert str(tmp_path / "CosyVoice2-0.5B") in str(caught.value.hint)
    file = tmp_path / "flow.pt"
    file.touch()
    with pytest.raises(ModelDirectoryError, match="is a file"):
        resolve(file)
    for path in ("../..", "a/../b", "missing", "a/b/c", "/no/such", ""):
        with pytest.raises(ModelDirectoryError):
            resolve(path)


def test_a_hub_id_without_a_client_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_installed", lambda module: False)
    with pytest.raises(MissingRequirement) as caught:
        resolve("FunAudioLLM/CosyVoice2-0.5B")
    assert "cosybuild[hub]" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["a/b", "FunAudioLLM/CosyVoice2-0.5B", "iic/CosyVoice-300M"])
def test_hub_ids_are_recognised(text: str) -> None:
    assert hub.is_hub_id(text)


@pytest.mark.parametrize(
    "text", ["a", "a/b/c", "../b", "a/..", "a/b..c", "/a/b", "a/b/", "./b", "~/b", "a b/c", "a/b\n"]
)
def test_other_text_is_no_hub_id(text: str) -> None:
    assert not hub.is_hub_id(text)


def tensors(*names: str, **settings: Any) -> tuple[TensorSettings, ...]:
    return tuple(TensorSettings(**{"name": name, "shape": (1, 80, "frames"), **settings}) for name in names)


def declared(**settings: Any) -> Any:
    target = {"_target_": "cosybuild.models.spec.TensorSpec", "width": 3}
    given = {"family": Family.module, "target": target, "inputs": tensors("x"), "outputs": tensors("y"), **settings}
    return resolve(**given)


def test_a_module_of_the_user_is_resolved() -> None:
    subject = declared()
    source = Path(sys.modules["cosybuild"].__file__ or "").parent / "models" / "spec.py"
    assert subject.origin == str(source)
    assert subject.hyperparameters == {"target": {"_target_": "cosybuild.models.spec.TensorSpec", "width": 3}}
    assert subject.spec.symbols == ("frames",)
    assert subject.stem == "tensorspec"
    assert declared(name="mine").stem == "mine"


def test_code_of_the_user_is_found_in_the_working_directory_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "outer" / "inner"
    package.mkdir(parents=True)
    for file in (tmp_path / "outer" / "__init__.py", package / "__init__.py"):
        file.write_text("raise SystemExit('imported')")
    (package / "code.py").write_text("raise SystemExit('imported')\nclass Net: ...\n")
    loose = tmp_path / "loose" / "deep"  # without __init__.py
    loose.mkdir(parents=True)
    (loose / "code.py").write_text("class Net: ...\n")
    monkeypatch.chdir(tmp_path)
    for name, file in (("outer.inner.code.Net", package / "code.py"), ("loose.deep.code.Net", loose / "code.py")):
        assert declared(target={"_target_": name}).origin == str(file)


def test_an_existing_graph_is_resolved(tmp_path: Path) -> None:
    path = tmp_path / "campplus.onnx"
    path.touch()
    subject = declared(family=Family.onnx, target=None, path=str(path))
    assert subject.graph == path
    assert subject.weights_label == "in campplus.onnx"
    assert subject.stem == "campplus"


DECLARATIONS = [
    ({"inputs": tensors("x", "x")}, "uses? the name 'x' 2 times"),
    ({"outputs": tensors("x")}, "uses? the name 'x' 2 times"),
    ({"inputs": tensors("x", shape=None)}, "has no shape"),
    ({"inputs": tensors("x", shape=(1, 0))}, "0 is not an axis"),
    ({"inputs": tensors("x", shape=(1, -4))}, "-4 is not an axis"),
    ({"inputs": tensors("x", shape=(1, "two words"))}, "'two words' is not an axis"),
    ({"inputs": tensors("x", shape=(1, True))}, "True is not an axis"),
    ({"inputs": tensors("x", shape=(1.5,))}, "1.5 is not an axis"),
    ({"inputs": tensors('x"y')}, "quotation marks"),
    ({"inputs": tensors("")}, "at least one character"),
    ({"inputs": tensors("x", shape=(1, "past * past"))}, "is not an axis"),
    ({"inputs": tensors("x", dtype="float33")}, "dtype is 'float33'"),
    ({"inputs": tensors("x", generator="pink")}, "generator is 'pink'"),
    ({"inputs": tensors("x", generator="uniform", low=2.0)}, "low 2.0 is not below high 1.0"),
    ({"inputs": ()}, "model.inputs"),
    ({"outputs": ()}, "model.outputs"),
    ({"frames_per_second": 0.0}, "frames_per_second"),
    ({"streaming": True}, "no streaming variant"),
    ({"target": None}, "does not name what to construct"),
    ({"target": {"_target_": "loose"}}, "does not name what to construct"),
    ({"target": {"_target_": "no_such_package.Net"}}, "no Python module"),
    ({"family": Family.onnx}, "model.path"),
]


@pytest.mark.parametrize(("settings", "expected"), DECLARATIONS)
def test_invalid_declarations_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(CosybuildError, match=expected) as caught:
        declared(**settings)
    assert caught.value.exit_code in (2, 3)
    assert not caught.value.message.endswith("None")


def test_a_missing_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="is not a file"):
        declared(family=Family.onnx, target=None, path=str(tmp_path / "missing.onnx"))


def test_a_model_directory_is_refused_for_a_module() -> None:
    with pytest.raises(ConfigurationError, match="model=module does not use"):
        declared(model_dir=tiny_directory(2))


def test_a_dynamic_batch_is_declared_not_requested() -> None:
    with pytest.raises(ConfigurationError, match="whose axes are declared"):
        declared(dynamic_batch=True)
