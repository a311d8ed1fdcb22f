"""Everything that the console says about a run is in its report.md, for each kind of run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from cosybuild.lazy import is_installed
from tests.scenarios.commands import DATA, QUICK, Place, Ran

MODEL, _, *SMALL = QUICK
FIXED = (
    "model.inputs=[{name: x, shape: [1, 4]}]",
    "model.outputs=[{name: y, shape: [1, 4]}]",
    "trt_profile.profiles=[]",
    "trt=none",
    "verify=off",
)
LINEAR = ("model=module", "model.target={_target_: torch.nn.Linear, in_features: 3, out_features: 4}")
PENDING = (MODEL, *SMALL, "trt=fp32", "trt.backend=tensorrt", "trt.sm=[75]")
SERVICE = ("deploy=bundle", "deploy.dir=service", "deploy.create=true")

RUNS: dict[str, tuple[tuple[str, ...], int]] = {
    "ok": (QUICK, 0),
    "of random weights": (("model=cosyvoice2", "model.hyperparameters={channels: [16], num_mid_blocks: 1, n_blocks: 1, "
                           "num_heads: 2, attention_head_dim: 8}", *QUICK[1:]), 0),
    "not verified": ((*QUICK, "verify=off"), 0),
    "lowered": ((*QUICK, "precision=fp16"), 0),
    "of default ranges": (("model=onnx", "model.path=free.onnx", "trt=none"), 0),
    "pending": (PENDING, 9),
    "failed at export": ((*LINEAR, *FIXED), 4),
    "failed at simplify": (("model=onnx", "model.path=random.onnx", "simplify=onnxsim", *FIXED), 4),
    "failed at precision": ((*QUICK, "precision=fp16", "precision.keep_fp32=[nothing*]"), 4),
    "failed at verify": ((*QUICK, "verify.snr_db=300"), 5),
    "failed at engine": (
        (MODEL, *SMALL, "trt=fp32", "trt.backend=tensorrt_rtx", "trt.workspace_gib=1e-6"), 4,
    ),
    "deployed": ((*QUICK, *SERVICE), 0),
    "deployed by force": ((*QUICK, "verify=off", *SERVICE, "deploy.force=true"), 0),
    "refused deployment": ((*PENDING, *SERVICE), 10),
}  # fmt: skip
"""Kind of run -> its words and its exit code."""

UNTOLD = re.compile(r"step|time|peak memory|built|cached|failed|blocked|Next:|outputs/\S+|[\d.]+ s|not reached")
"""Pieces of console lines that are no facts of the run: titles, words of the table, durations, paths."""


@pytest.fixture
def workplace(tmp_path: Path) -> Place:
    shutil.copytree(DATA / "cosyvoice2_tiny", tmp_path / "model")
    free = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "n"]) for name in "xy"]
    fixed = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    # onnxsim removes the first node, so the graphs are compared; two runs of the others differ.
    noisy = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("RandomNormalLike", ["same"], ["noise"]),
        helper.make_node("Add", ["same", "noise"], ["y"]),
    ]
    for name, nodes, (x, y) in (("free", [helper.make_node("Tanh", ["x"], ["y"])], free), ("random", noisy, fixed)):
        graph = helper.make_graph(nodes, name, [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
    return Place(tmp_path)


@pytest.mark.parametrize("kind", RUNS)
def test_the_report_has_what_the_console_said(workplace: Place, kind: str) -> None:
    words, code = RUNS[kind]
    if "engine" in kind and not is_installed("tensorrt_rtx"):
        pytest.skip("TensorRT-RTX is not here")
    ran = workplace.cosybuild(*words, code=code)
    (run,) = workplace.runs()
    report = plain((run / "report.md").read_text(encoding="utf-8"))
    page = (run / "report.html").read_text(encoding="utf-8")
    told = [*from_events(run / "events.jsonl"), *from_console(ran)]
    assert told
    missing = [piece for piece in told if plain(piece) not in report]
    assert not missing
    assert "</html>" in page


def plain(text: str) -> str:
    """Return text without markup, case and line breaks."""
    return " ".join(re.sub(r"[`*|]", " ", text.replace("\\", "")).split()).casefold().rstrip(".")


def from_events(path: Path) -> Iterator[str]:
    """Yield warnings, what blocked steps lack, reasons for building, and failures with their hints."""
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        facts = event if "message" in event or "reason" in event else event.get("facts", {})
        if event["kind"] in ("warning", "failed"):
            yield from (facts[name] for name in ("message", "hint") if facts.get(name))
        elif event["kind"] == "blocked":
            yield from facts.get("lacks", ())
        elif event["kind"] == "started" and facts.get("reason"):
            yield facts["reason"]


def from_console(ran: Ran) -> Iterator[str]:
    """Yield the pieces of lines that are facts; the events have the lines of the progress."""
    for line in ran.out.splitlines():
        if re.match(r" *(starting|building|planning|blocked|failed|warning) ", line):
            continue
        if "python -m cosybuild" in line:  # commands for a next step
            continue
        for piece in re.split(r"\s{2,}", line.strip()):
            if piece and not UNTOLD.fullmatch(piece):
                yield piece
    yield from (line.partition(" error: ")[2] or line for line in ran.err.splitlines() if line.strip())
