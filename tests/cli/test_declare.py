"""`declare`: the option that it prints, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from cosybuild.cli.declare import main
from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.errors import ConfigurationError, ModelError
from cosybuild.models.user_module.declared import declared_spec
from cosybuild.onnxgraph.file_declaration import spec_of_graph
from tests.scenarios.test_undeclared_graph import graph


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(words) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def test_the_declaration_of_a_file_says_what_the_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.onnx"
    onnx.save(graph(), path)
    option = printed(capsys, str(path))
    sides = {side: tuple(TensorSettings(**one) for one in option[side]) for side in ("inputs", "outputs")}
    declared = declared_spec(ModelSettings(family=Family.onnx, path=str(path), **sides))
    stated = spec_of_graph(path, ModelSettings(family=Family.onnx, path=str(path)))
    assert (option["family"], option["path"]) == ("onnx", str(path))
    for side in ("inputs", "outputs"):
        for one, other in zip(getattr(declared, side), getattr(stated, side), strict=True):
            assert (one.name, one.shape, one.dtype) == (other.name, other.shape, other.dtype)
            assert one.generator == other.generator
    assert declared.inputs[2].high == 5


SAMPLES = ("--input", "input=[1,1,samples]")
CONV = ("torch.nn.Conv1d", "in_channels=4", "out_channels=5", "kernel_size=3")


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        ((*CONV, "--input", "input=[n,4,t]"), {"output": ["n", 5, "t - 2"]}),
        # A rounded quotient is no sum, so that the axis has a name of its own.
        ((*CONV, "stride=16", "--input", "input=[n, 4, t]"), {"output": ["n", 5, "output_axis2"]}),
        (("torch.nn.Upsample", "scale_factor=3", "--input", "input=[1,2,t]"), {"output": [1, 2, "3*t"]}),
        (
            ("torch.nn.GRU", "input_size=4", "hidden_size=5", "--input", "input=[t,n,4]", "--input", "hx=[1,n,5]"),
            {"output_0": ["t", "n", 5], "output_1": [1, "n", 5]},
        ),
        (
            ("torch.nn.Embedding", "num_embeddings=9", "embedding_dim=2", "--input", "input=[n]:int64"),
            {"output": ["n", 2]},
        ),
        # A stride beyond the step of eight: no call shows it as a fixed size.
        (
            ("torch.nn.Conv1d", "in_channels=1", "out_channels=5", "kernel_size=400", "stride=320", *SAMPLES),
            {"output": [1, 5, "output_axis2"]},
        ),
        # The module returns a field with the name of an input, as diffusers' UNet2DModel does.
        (("tests.stages.modules.Refined", "--input", "sample=[n,3]"), {"sample_output": ["n", 3]}),
    ],
)
def test_a_trial_call_shows_the_outputs_of_a_class(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], outputs: dict[str, list[Any]]
) -> None:
    assert {one["name"]: one["shape"] for one in printed(capsys, *words)["outputs"]} == outputs


def test_the_declaration_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*CONV, "--input", "input=[1,4,t]", "--write", str(tmp_path / "conv.yaml"))
    assert main(words) == 0
    assert yaml.safe_load((tmp_path / "conv.yaml").read_text(encoding="utf-8"))["family"] == "module"
    with pytest.raises(ConfigurationError, match="exists"):
        main(words)


@pytest.mark.parametrize(
    ("words", "error", "expected"),
    [
        (("missing.onnx",), ConfigurationError, "is not a file"),
        (CONV, ConfigurationError, "No shapes of inputs were given"),
        ((*CONV, "--input", "x"), ConfigurationError, "is no input"),
        ((*CONV, "--input", "x=[a*b]"), ConfigurationError, "is not an axis"),
        ((*CONV, "--input", "input=[1,9,t]"), ModelError, "does not take inputs of these shapes"),
        (("torch.nn.Conv1d", "--input", "input=[1,9,t]"), ModelError, "could not be constructed"),
        (("no_such_package.Net",), ConfigurationError, "no Python module"),
    ],
)
def test_what_cannot_be_declared_is_refused(words: tuple[str, ...], error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        main(words)
