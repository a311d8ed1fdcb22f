"""Every wrong input gives one clear paragraph and an exit code, no traceback, and leaves no files."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.modes import bound_by_modes
from tests.scenarios.commands import DATA, QUICK, Answer
from tests.scenarios.rebuilding import make_small_model

CONFIGURATION, MODEL, MISSING, STORE = 2, 3, 6, 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_model(tmp_path_factory.mktemp("good") / "model")


REFUSED = {
    "unknown option of a group": (("export=opset19",), "'opset19'", "opset17, opset18, opset20, opset23"),
    "unknown group": (("exprt=opset18",), "no setting 'exprt'", "Did you mean export=opset18?"),
    "typo in a key": (("export.opsett=18",), "no setting 'opsett'", "Did you mean export.opset=18?"),
    "typo in an option": (("trt=fp61",), "'fp61'", "Did you mean trt=fp16?"),
    "typo in a value": (("precision.target=fp61",), "expected one of fp32", "Did you mean precision.target=fp16?"),
    "a setting without its group": (("opset=20",), "no setting 'opset'", "Did you mean export.opset=20?"),
    "a setting of another group": (("trt.opset=20",), "no setting 'opset'", "Did you mean export.opset=20?"),
    "a setting of several groups": (
        ("snr_db=3",),
        "Did you mean verify.snr_db=3 or precision.snr_db=3 or ov.snr_db=3?",
    ),
    "not a number": (("export.opset=many",), "export.opset=many is not a permitted value; expected a whole number."),
    "an element that is no number": (("trt.sm=x",), "trt.sm[0]=x", "expected a whole number"),
    "null for a mandatory value": (("export.opset=null",), "export.opset=null", "expected a whole number"),
    "one value for a group of settings": (("verify.solver=1",), "verify.solver.points"),
    "several values in a single build": (("trt.sm=89,90",), "several values", "trt.sm=[89,90]", "`-m trt.sm=89,90`"),
    "not one of the choices": (("export.exporter=onnx",), "export.exporter", "torchscript, dynamo"),
    "no override at all": (("export.opset",), "'export.opset'", "key=value"),
    "unbalanced brackets": (("trt.sm=[89",), "'trt.sm=[89'", "key=value"),
    "a verb with a typo": (("explian", "x"), "'explian'", "Did you mean explain?"),
    "unsupported opset": (("export.opset=30",), "export.opset=30", "expected 17 to 23"),
    "opset that the exporter lifts": (("export=opset17", "export.exporter=dynamo"), "cannot write opset 17"),
    "engine of another precision": (
        ("trt=fp16", "precision=fp32"),
        "trt=fp16 builds an engine in fp16",
        "precision=fp32 is set",
    ),
    "setting of a group that is off": (("trt=none", "trt.sm=[89]"), "trt.sm is set", "'trt' is switched off"),
    "setting of a group never chosen": (("benchmark.rounds=3",), "benchmark.rounds is set", "benchmark=full, quick"),
    "group switched off the wrong way": (("trt=null",), "Got NoneType", "trt=none"),
    "no tolerance": (("verify.rtol=7",), "verify.rtol=7", "0 <= rtol < 1"),
    "axis that is not dynamic": (
        ("trt_profile.profiles=[{frames: {min: 4, opt: 8, max: 12}}]",),
        "the axis 'frames'",
        "dynamic axes: seq_len",
    ),
    "batch that is not dynamic": (
        ("trt_profile=batch16", "export.dynamic_batch=false"),
        "the axis 'batch'",
        "export.dynamic_batch=true",
    ),
    "sizes out of order": (
        ("trt_profile.profiles=[{seq_len: {min: 9, opt: 8, max: 12}}]",),
        "min 9, opt 8, max 12 are not in order",
    ),
    "weights' name of nothing": (("model=module",), "model=module needs model.target"),
    "seconds that are none": (("trt_profile.profiles=[{seq_len: {min: 4, opt: 1 moon, max: 12}}]",), "'1 moon'"),
    "name that is a path": (("model.name=/any/path/x",), "model.name='/any/path/x'", "contains '/'"),
    "name that leaves the directory": (("model.name=../x",), "model.name='../x'", "contains '/'"),
    "name that is too long": ((f"model.name={'n' * 250}",), "has 250 bytes, more than 128"),
    "Triton model that is a path": (("deploy=triton", "deploy.dir=d", "deploy.triton.model=../x"), "contains '/'"),
    "deployment to nowhere": (("deploy=cosyvoice",), "deploy.dir"),
    "hyper-parameter with a typo": (("model=cosyvoice2", "model.hyperparameters={head:2}"), "head", "num_heads"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_settings_are_refused_before_anything_is_written(command: Callable[..., Answer], name: str) -> None:
    words, *parts = REFUSED[name]
    answer = command(*words)
    answer.says(CONFIGURATION, *parts)
    assert not list(answer.here.iterdir())


def directory(here: Path, name: str) -> Path:
    """Return a model directory with the fault that `name` says."""
    path = make_small_model(here.parent / "model")
    yaml, weights = path / "cosyvoice2.yaml", path / "flow.pt"
    text = yaml.read_text(encoding="utf-8")
    if name == "no yaml":
        yaml.unlink()
    elif name == "two yaml files":
        shutil.copy(DATA / "cosyvoice3_tiny" / "cosyvoice3.yaml", path)
    elif name == "no weights":
        weights.unlink()
    elif name == "yaml that is none":
        yaml.write_text("flow: [1, 2\n", encoding="utf-8")
    elif name == "yaml of something else":
        yaml.write_text("sample_rate: 24000\n", encoding="utf-8")
    elif name == "a hyper-parameter of another kind":
        yaml.write_text(text.replace("num_heads: 2", "num_heads: many"), encoding="utf-8")
    elif name == "yaml in another encoding":
        yaml.write_bytes("sample_rate: 24000 # Größe".encode("utf-16"))
    else:
        raise KeyError(name)
    return path


DIRECTORIES = {
    "no yaml": ("is not a CosyVoice model directory", "It has: flow.pt"),
    "two yaml files": ("cosyvoice2.yaml (cosyvoice2) and cosyvoice3.yaml (cosyvoice3)", "model=cosyvoice2 or"),
    "no weights": ("neither flow.pt nor flow.safetensors",),
    "yaml that is none": ("cosyvoice2.yaml",),
    "yaml of something else": ("flow is missing",),
    "a hyper-parameter of another kind": ("num_heads is 'many'",),
    "yaml in another encoding": ("cosyvoice2.yaml",),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_invalid_model_directories_are_refused_before_anything_is_written(
    command: Callable[..., Answer], tmp_path: Path, name: str
) -> None:
    path = directory(tmp_path / "here", name)
    answer = command(f"model_dir={path}", *QUICK[1:])
    answer.says(MODEL, *DIRECTORIES[name])
    assert not list(answer.here.iterdir())


def test_a_path_that_is_no_model_directory_is_refused(command: Callable[..., Answer], model: Path) -> None:
    near = str(model)[:-1]
    answer = command(f"model_dir={near}")
    answer.says(MODEL, f"model_dir={near} does not exist", f"did you mean {model}?")
    command(f"model_dir={model / 'flow.pt'}").says(MODEL, "is a file")
    command("model=cosyvoice3", f"model_dir={model}").says(MODEL, "model=cosyvoice3 is set", "cosyvoice2.yaml")
    streaming = command(f"model_dir={DATA / 'cosyvoice1_tiny'}", "model.streaming=true")
    streaming.says(CONFIGURATION, "of cosyvoice1 has no streaming variant")
    assert not list(answer.here.iterdir())


@pytest.mark.parametrize(("name", "code"), [("", MODEL), ("cosyvoice2.yaml", MODEL), ("flow.pt", STORE)])
def test_a_model_without_read_permission_is_refused(
    command: Callable[..., Answer], model: Path, name: str, code: int
) -> None:
    mode = (model / name).stat().st_mode
    (model / name).chmod(0)
    try:
        with bound_by_modes():
            command(f"model_dir={model}").says(code, str(model / name), "ermission denied")
    finally:
        (model / name).chmod(mode)


class Surprise:
    """An object in a weights file whose code must not run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def spoil(weights: Path, name: str) -> None:
    """Replace the good weights by those that `name` describes."""
    data = weights.read_bytes()
    state = torch.load(weights, weights_only=True)
    bias = "decoder.estimator.final_proj.bias"
    if name == "cut off":
        weights.write_bytes(data[: len(data) * 2 // 3])
    elif name == "empty":
        weights.write_bytes(b"")
    elif name == "a web page":
        weights.write_text("<!doctype html><title>404</title>", encoding="utf-8")
    elif name == "a pickle of code":
        weights.write_bytes(pickle.dumps({bias: Surprise()}))
    elif name == "not tensors":
        torch.save({bias: [1.0, 2.0]}, weights)
    elif name == "one tensor":
        torch.save(state[bias], weights)
    elif name == "of another model":
        torch.save({"encoder.weight": torch.zeros(3)}, weights)
    elif name == "misshaped":
        torch.save({**state, bias: torch.zeros(7)}, weights)
    elif name == "incomplete":
        del state[bias]
        torch.save(state, weights)
    elif name == "not finite":
        state[bias][1] = float("nan")
        torch.save(state, weights)
    elif name == "quantized":
        torch.save({**state, bias: torch.zeros(state[bias].shape, dtype=torch.int8)}, weights)
    else:
        raise KeyError(name)


WEIGHTS = {
    "cut off": ("flow.pt cannot be read",),
    "empty": ("flow.pt is empty",),
    "a web page": ("not a PyTorch file",),
    "a pickle of code": ("does not run code from a weights file",),
    "not tensors": ("has no weights of this model",),
    "one tensor": ("contains a Tensor, not a state dict",),
    "of another model": ("has no weights of this model", "encoder.weight.* (1)"),
    "misshaped": ("1 of another shape", "final_proj.bias: (7,), expected (8,)"),
    "incomplete": ("1 missing", "final_proj.bias"),
    "not finite": ("1 of 8 values in 'final_proj.bias' is NaN or infinite",),
    "quantized": ("is int8; float32 is expected",),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_invalid_weights_are_refused_and_nothing_is_stored(
    command: Callable[..., Answer], model: Path, tmp_path: Path, name: str
) -> None:
    """The build reads the weights: its record says what failed, and nothing else is left."""
    path = shutil.copytree(model, tmp_path / "model")
    spoil(path / "flow.pt", name)
    answer = command(f"model_dir={path}", *QUICK[1:])
    answer.says(MODEL, *WEIGHTS[name])
    assert "checkpoint error" in answer.err
    assert not list(answer.here.glob("executed"))
    assert not list(answer.here.glob("outputs/runs/*/artifacts"))
    assert not list(answer.here.glob("outputs/store/entries/*/*"))
    assert not list(answer.here.glob("outputs/store/objects/*/*"))
    assert not list(answer.here.glob("outputs/store/tmp/*"))
    (report,) = answer.here.glob("outputs/runs/*/report.json")
    assert '"status": "failed"' in report.read_text(encoding="utf-8")
    # A failure is not stored: with good weights the same command succeeds.
    if name == "cut off":
        shutil.copy(model / "flow.pt", path)
        assert command(f"model_dir={path}", *QUICK[1:]).code == 0


def test_a_file_that_is_no_graph_is_refused(command: Callable[..., Answer], tmp_path: Path) -> None:
    path = tmp_path / "here.onnx"
    path.write_bytes(b"not a graph at all")
    answer = command("model=campplus", f"model.path={path}", "trt=none")
    assert answer.code in (CONFIGURATION, MODEL, 4), answer.err
    answer.says(answer.code, str(path))
    assert not list(answer.here.glob("outputs/runs/*/artifacts"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("explain", "nowhere"), ("There is no run 'nowhere'",)),
        (("diff", "a", "b"), ("There is no run 'a'",)),
        (("replay", "nowhere"), ("There is no run 'nowhere'",)),
        (("hold_to=nothing.lock", *QUICK[1:], "model=cosyvoice2"), ("nothing.lock",)),
    ],
)
def test_a_missing_file_is_refused(
    command: Callable[..., Answer], words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    answer = command(*words)
    answer.says(CONFIGURATION, *parts)
    assert not list(answer.here.glob("outputs/runs/*/report.json"))


def test_a_file_named_outputs_is_reported(command: Callable[..., Answer], model: Path) -> None:
    outputs = Path("outputs")
    outputs.write_text("mine", encoding="utf-8")
    answer = command(f"model_dir={model}", *QUICK[1:])
    answer.says(STORE, "outputs", "Next: move that file away")
    assert outputs.read_text(encoding="utf-8") == "mine"
