"""Each class of error in docs/troubleshooting.md is really raised, by a command or by a serving process."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from cosybuild import errors
from cosybuild.lazy import is_installed
from cosybuild.runtime import load_estimator
from tests.scenarios.commands import QUICK, Answer, Place

MODEL, _, *SMALL = QUICK
FIXED = (
    "model.inputs=[{name: x, shape: [1, 4]}]",
    "model.outputs=[{name: y, shape: [1, 4]}]",
    "trt_profile.profiles=[]",
    "trt=none",
    "verify=off",
)
Words = tuple[str, ...]

COMMANDS: dict[type[errors.CosybuildError], tuple[Words, str]] = {
    errors.ConfigurationError: (("export.opset=30",), "expected 17 to 23"),
    errors.ModelError: (("model=onnx", "model.path=model/cosyvoice2.yaml", *FIXED), "model/cosyvoice2.yaml"),
    errors.ModelDirectoryError: (("model_dir=modle",), "model_dir=modle does not exist"),
    errors.CheckpointError: (("model_dir=cut", *QUICK[1:]), "flow.pt"),
    errors.BuildError: (("select", "SWEEP", "--objective", "size", "--max-error", "0"), "more than 0"),
    errors.ExportError: (
        ("model=module", "model.target={_target_: torch.nn.Linear, in_features: 3, out_features: 4}", *FIXED),
        "cannot export Linear",
    ),
    errors.SimplifyError: (("model=onnx", "model.path=random.onnx", *FIXED), "has other outputs than the original"),
    errors.PrecisionError: ((*QUICK, "precision=fp16", "precision.keep_fp32=[nothing*]"), "pattern 'nothing*'"),
    errors.EngineError: (
        (MODEL, *SMALL, "trt=fp32", "trt.backend=tensorrt_rtx", "trt.workspace_gib=1e-6"),
        "flow.decoder.estimator.fp32",
    ),
    errors.OpenVinoError: (
        (
            "model=onnx",
            "model.path=det.onnx",
            "model.inputs=[{name: x, shape: [1, 4, 4]}]",
            "model.outputs=[{name: y, shape: [1]}]",
            *FIXED[2:],
            "simplify=none",
            "ov=fp32",
        ),
        "No conversion rule found for operations: Det-18",
    ),
    errors.OutOfMemory: (
        (
            "model=module",
            "model.target={_target_: torch.nn.Linear, in_features: 1000000000, out_features: 1000000}",
            *FIXED,
        ),
        "The step 'export' ran out of memory",
    ),
    errors.SourceChanged: (
        (
            "model=module",
            "model.target={_target_: touching.Net, path: net.pt}",
            "model.weights=net.pt",
            "export.example_sizes={}",
            *FIXED,
        ),
        "net.pt changed while the build used it",
    ),
    errors.VerificationError: ((*QUICK, "verify.snr_db=300"), "the reference"),
    errors.MissingRequirement: (("store", "push", "file://team"), "needs the Python package 'fsspec'"),
    errors.StoreError: ((*QUICK, "store.path=model/flow.pt"), "is a file, not a directory"),
    errors.DriftError: ((*QUICK, "must_produce.graph=0000"), "graph: 0000 -> "),
    errors.Pending: ((MODEL, *SMALL, "trt=fp32", "trt.backend=tensorrt", "trt.sm=[75]"), "engine sm_75  needs"),
    errors.DeployError: (("rollback", "model"), "has not deployed anything there"),
}
"""Class -> the command that raises it in `here`, and a text of its message."""


def classes() -> list[type[errors.CosybuildError]]:
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    return [cls for cls in found if issubclass(cls, errors.CosybuildError) and cls is not errors.CosybuildError]


def by_command(cls: type[errors.CosybuildError]) -> bool:
    return not issubclass(cls, errors.ServingError)


TOUCHING = """
import pathlib
import torch

class Net(torch.nn.Linear):
    def __init__(self, path):
        super().__init__(4, 4)
        pathlib.Path(path).touch()
"""
"""A module that changes the file of weights before they are loaded."""


@pytest.fixture(scope="module")
def here(built_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the results of a build, and with faulty files."""
    directory = tmp_path_factory.mktemp("errors") / "here"
    shutil.copytree(built_place.directory, directory)
    (directory / "cut").mkdir()
    shutil.copy(directory / "model" / "cosyvoice2.yaml", directory / "cut")
    (directory / "cut" / "flow.pt").write_bytes((directory / "model" / "flow.pt").read_bytes()[:1000])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("RandomNormalLike", ["same"], ["noise"]),
        helper.make_node("Add", ["same", "noise"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "random", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, directory / "random.onnx")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"])], "det", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, directory / "det.onnx")
    torch.save(torch.nn.Linear(4, 4).state_dict(), directory / "net.pt")
    (directory / "touching.py").write_text(TOUCHING, encoding="utf-8")
    return directory


@pytest.mark.parametrize("cls", [cls for cls in classes() if by_command(cls)], ids=lambda cls: cls.__name__)
def test_some_command_raises_each_error_class(
    cls: type[errors.CosybuildError],
    here: Path,
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words, part = COMMANDS[cls]
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    if cls is errors.EngineError and not is_installed("tensorrt_rtx"):
        pytest.skip("TensorRT-RTX is not here")
    if cls is errors.OpenVinoError and not is_installed("openvino"):
        pytest.skip("OpenVINO is not here")
    if cls is errors.MissingRequirement:
        # Its import fails as if it were not installed.
        monkeypatch.setitem(sys.modules, "fsspec", None)
    if cls is errors.BuildError:
        assert command("-m", *QUICK, "verify.seed=0,1").code == 0
        (sweep,) = (here / "outputs" / "sweeps").iterdir()
        words = tuple(sweep.name if word == "SWEEP" else word for word in words)
    answer = command(*words)
    assert "Traceback" not in answer.err
    assert answer.code == cls.exit_code, answer.err
    if cls is errors.Pending:
        # The command did part of its work, so it prints nothing on standard error.
        assert answer.err == ""
        assert f"blocked  {part}" in answer.out
        return
    answer.says(cls.exit_code, part)
    # Exactly this class, no subclass and no base class.
    assert answer.err.startswith(f"{cls.kind} error: ")


def called(artifacts: Path, *, rows: int = 2, streaming: bool = False) -> None:
    sizes = {"x": (rows, 8, 9), "mask": (rows, 1, 9), "mu": (rows, 8, 9), "t": (rows,), "spks": (rows, 8)}
    tensors = {name: torch.ones(size) for name, size in {**sizes, "cond": sizes["x"]}.items()}
    load_estimator(artifacts)(**tensors, streaming=streaming)


def taken_twice(artifacts: Path) -> None:
    estimator = load_estimator(artifacts, timeout=0.01)
    estimator.acquire_estimator()
    estimator.acquire_estimator()


CALLS: dict[type[errors.CosybuildError], tuple[Callable[[Path], object], str]] = {
    errors.ServingError: (lambda artifacts: load_estimator(artifacts, concurrency=0), "concurrency=0"),
    errors.ArtifactRefused: (lambda artifacts: load_estimator(artifacts.parents[3] / "random.onnx"), "no manifest"),
    errors.ShapeRefused: (lambda artifacts: called(artifacts, rows=4), "does not serve x 4x8x9"),
    errors.VariantRefused: (lambda artifacts: called(artifacts, streaming=True), "streaming attention is requested"),
    errors.PoolExhausted: (taken_twice, "all 1 execution contexts"),
}
"""Class -> the call of a serving process on the directory of artifacts, and a text of the message."""


@pytest.mark.parametrize("cls", [cls for cls in classes() if not by_command(cls)], ids=lambda cls: cls.__name__)
def test_a_serving_process_raises_each_serving_error(
    cls: type[errors.CosybuildError], built_place: Place, here: Path
) -> None:
    call, part = CALLS[cls]
    (run,) = built_place.runs()
    artifacts = here / run.relative_to(built_place.directory) / "artifacts"
    called(artifacts)
    with pytest.raises(cls, match=part) as caught:
        call(artifacts)
    assert type(caught.value) is cls


def test_each_kind_of_error_is_one_class() -> None:
    kinds = [cls.kind for cls in classes()]
    assert len(set(kinds)) == len(kinds)
    assert {cls.exit_code for cls in classes() if by_command(cls)}.isdisjoint(
        {cls.exit_code for cls in classes() if not by_command(cls)}
    )
