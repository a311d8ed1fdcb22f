"""One thing is changed at a time: only the affected steps run again, for the expected reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from cosybuild.building.status import Stale, Status
from cosybuild.system.environment import Environment, Gpu
from tests.scenarios.rebuilding import ENGINE, WITH_ENGINE, Project, flip

EXPORT, SIMPLIFY, VERIFY, PRECISION, LOWERED = "export", "simplify", "verify", "precision", "verify lowered"
REFERENCE = "reference"
ALL = (EXPORT, REFERENCE, SIMPLIFY, VERIFY, PRECISION, LOWERED, ENGINE)
WAITS = "waits for the content of"
AFTER_EXPORT = dict.fromkeys((SIMPLIFY, VERIFY, PRECISION, LOWERED, ENGINE), WAITS)
AFTER_SIMPLIFY = dict.fromkeys((VERIFY, PRECISION, LOWERED, ENGINE), WAITS)
AFTER_PRECISION = dict.fromkeys((LOWERED, ENGINE), WAITS)
AFTER_REFERENCE = dict.fromkeys((VERIFY, LOWERED), WAITS)
OF_THE_MODEL = ("streaming variant", "dynamic batch")
"""Changes of the exported model that change its reference too."""


def profile(smallest: int, opt: int, largest: int, rest: str = "") -> str:
    return f"trt_profile.profiles=[{{seq_len: {{min: {smallest}, opt: {opt}, max: {largest}}}{rest}}}]"


@dataclass(frozen=True)
class Change:
    """One kind of change.

    Attributes:
        words: settings that are added to the command line or replace its own.
        runs: step -> a text of its reason. Every other step must be a hit.
        off: steps that are removed from the plan.
        without: settings to remove from the command line.
    """

    words: tuple[str, ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    off: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


EXPORTED = {
    "opset": (["export.opset=20"], "settings.opset: 18 -> 20"),
    "exporter": (["export.exporter=dynamo"], 'settings.exporter: "torchscript" -> "dynamo"'),
    "constant folding": (["export.constant_folding=false"], "settings.constant_folding: true -> false"),
    "example that is traced": (["+export.example_sizes.seq_len=10"], "settings.example_sizes.seq_len: 4 -> 10"),
    "streaming variant": (["model.streaming=true"], "settings.streaming: false -> true"),
    "name of the artifacts": (
        ["model.name=mine"],
        'settings.file: "flow.decoder.estimator.fp32.onnx" -> "mine.fp32.onnx"',
    ),
    "dynamic batch": (
        ["export.dynamic_batch=true", profile(4, 8, 12, ", batch: {min: 2, opt: 2, max: 2}")],
        'settings.spec.inputs[0].shape[0]: 2 -> "batch"',
    ),
}
SETTINGS = {
    **{
        name: Change(tuple(words), {EXPORT: why, **AFTER_EXPORT, **({REFERENCE: why} if name in OF_THE_MODEL else {})})
        for name, (words, why) in EXPORTED.items()
    },
    "rounds of simplification": Change(("simplify.rounds=2",), {SIMPLIFY: "settings.rounds: 1 -> 2", **AFTER_SIMPLIFY}),
    "checks of simplification": Change(
        ("simplify.check_runs=2",), {SIMPLIFY: "settings.check_runs: 1 -> 2", **AFTER_SIMPLIFY}
    ),
    "no simplification": Change(
        ("simplify=none",),
        {VERIFY: "input.graph: ", PRECISION: "input.graph: ", **AFTER_PRECISION},
        off=(SIMPLIFY,),
    ),
    "relative tolerance": Change(("verify.rtol=0.001",), {VERIFY: "settings.rtol: 0.0001 -> 0.001"}),
    "absolute tolerance": Change(("verify.atol=0.001",), {VERIFY: "-> 0.001"}),
    "seed of verification": Change(("verify.seed=7",), {REFERENCE: "settings.seed: 0 -> 7", **AFTER_REFERENCE}),
    "threads of verification": Change(("verify.threads=2",), {VERIFY: "settings.threads: 1 -> 2"}),
    "provider of verification": Change(
        ("verify.provider=cpu",),
        {VERIFY: 'settings.provider: "auto" -> "cpu"', LOWERED: 'settings.provider: "auto" -> "cpu"'},
    ),
    "verification as upstream's": Change(
        ("verify=upstream",), {REFERENCE: 'settings.mode: "strict" -> "upstream"', **AFTER_REFERENCE}
    ),
    "float64 as the truth": Change(
        ("verify.float64=true",), {REFERENCE: "settings.float64: false -> true", **AFTER_REFERENCE}
    ),
    "a gate of the solver": Change(("verify.solver.gates.snr_db=70",), {VERIFY: "settings.solver.gates.snr_db: "}),
    "a gate of a hop": Change(("verify.hops.export.snr_db=90",), {VERIFY: "settings.hops.export.snr_db: 94.0 -> 90.0"}),
    "a longer run of the solver": Change(
        ("verify.solver.lengths=[9]",), {REFERENCE: "settings.rollouts[", **AFTER_REFERENCE}
    ),
    "no verification": Change(("verify=off",), off=(REFERENCE, VERIFY, LOWERED)),
    "largest size of the profile": Change(
        (profile(4, 8, 16),),
        {
            REFERENCE: "settings.profiles[0].seq_len.max: 12 -> 16",
            VERIFY: WAITS,
            PRECISION: "settings.calibration.sizes[1].seq_len: 12 -> 16",  # 128, unless the profile excludes it
            **AFTER_PRECISION,
        },
    ),
    "smallest size of the profile": Change(
        (profile(5, 8, 12),),
        {
            # The default example is longer than this profile, so the profile's smallest size is traced.
            EXPORT: "settings.example_sizes.seq_len: 4 -> 5",
            **AFTER_EXPORT,
            REFERENCE: "settings.profiles[0].seq_len.min: 4 -> 5",
        },
    ),
    "name of the profile": Change(("trt_profile.name=other",)),
    "target precision": Change(
        ("precision=mixed", *(["trt=mixed"] if WITH_ENGINE else [])),
        {PRECISION: 'settings.target: "fp16" -> "mixed"', **AFTER_PRECISION},
    ),
    "nodes kept in fp32": Change(
        ("precision.keep_fp32=['*Conv*']",),
        {PRECISION: 'settings.keep_fp32[0]: (absent) -> "*Conv*"', **AFTER_PRECISION},
    ),
    "largest lowered magnitude": Change(
        ("precision.data_max=1000",), {PRECISION: "settings.data_max: null -> 1000.0", **AFTER_PRECISION}
    ),
    "seed of calibration": Change(
        ("precision.calibration_seed=3",), {PRECISION: "settings.calibration.seed: 0 -> 3", **AFTER_PRECISION}
    ),
    "gate of the lowered graph": Change(("precision.snr_db=30",), {LOWERED: "settings.gate.snr_db: 34.0 -> 30.0"}),
    "every stored file read": Change(("store.verify=true",)),
    "lock and dry run": Change(("lock=true", "dry_run=true")),
    "log level": Change(("hydra.verbose=true",)),
}
ENGINES = {
    "no lowering": Change(
        ("precision=fp32", "trt=fp32"),
        {ENGINE: 'settings.precision: "fp16" -> "fp32"'},
        off=(PRECISION, LOWERED),
    ),
    "workspace": Change(("trt.workspace_gib=2",), {ENGINE: "settings.workspace_gib: 4.0 -> 2.0"}),
    "optimisation level": Change(("trt.optimization_level=1",), {ENGINE: "settings.optimization_level: null -> 1"}),
    "one more kind of GPU": Change(("trt.sm=[89,120]",), {"engine sm_120": "settings.sm: 89 -> 120"}),
    "engine where it can be built": Change(("trt.optional=true",)),
    "builder chosen automatically": Change(without=("trt.backend",)),
}


def in_full(status: Status) -> str:
    """Return every reason; a plan prints the first three."""
    if isinstance(status, Stale):
        return "; ".join([*map(str, status.reasons), status.note])
    return status.explain()


def hold(project: Project, change: Change, environment: Environment | None = None) -> None:
    """Check that the plan runs only the expected steps, each for the expected reason."""
    steps = {
        step.label: step for step in project.plan(*change.words, environment=environment, without=change.without).steps
    }
    present = [label for label in ALL if label not in change.off and (WITH_ENGINE or label != ENGINE)]
    assert [label for label in steps if label in ALL] == present
    assert set(change.runs) - set(steps) <= {ENGINE}
    for label, step in steps.items():
        verdict, why = step.status.verdict, in_full(step.status)
        if label not in change.runs:
            assert verdict == "hit", f"{label} would run again: {why}"
        else:
            assert change.runs[label] in why, f"{label}: {why}"
            assert verdict == ("unknown" if change.runs[label] == WAITS else "stale"), f"{label}: {verdict}"


def test_no_step_runs_again_if_nothing_changed(prepared_project: Project) -> None:
    hold(prepared_project, Change())


@pytest.mark.parametrize("name", SETTINGS)
def test_each_changed_setting_reruns_the_steps_that_read_it(prepared_project: Project, name: str) -> None:
    hold(prepared_project, SETTINGS[name])


@pytest.mark.skipif(not WITH_ENGINE, reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("name", ENGINES)
def test_each_changed_setting_of_engines_reruns_the_engine_steps(prepared_project: Project, name: str) -> None:
    hold(prepared_project, ENGINES[name])


VERSIONS = {
    "torch": {EXPORT: "environment.torch: ", REFERENCE: "environment.torch: ", **AFTER_EXPORT},
    "onnxscript": {EXPORT: "environment.onnxscript: ", **AFTER_EXPORT},
    "onnxsim": {SIMPLIFY: "environment.onnxsim: ", **AFTER_SIMPLIFY},
    "onnx-ir": {PRECISION: "environment.onnx-ir: ", **AFTER_PRECISION},
    "onnxruntime-gpu": {VERIFY: "environment.onnxruntime-gpu: ", PRECISION: "onnxruntime-gpu: ", **AFTER_PRECISION},
    "tensorrt-rtx": {ENGINE: "environment.tensorrt_rtx: "},
    "numpy": {REFERENCE: "environment.numpy: ", **AFTER_REFERENCE},
    "sympy": {},
    "hydra-core": {},
}


@pytest.mark.parametrize("package", VERSIONS)
def test_another_version_of_a_package_reruns_the_steps_that_use_it(prepared_project: Project, package: str) -> None:
    machine = Environment(versions={package: "99.1"})
    runs = {label: why for label, why in VERSIONS[package].items() if WITH_ENGINE or label != ENGINE}
    hold(prepared_project, Change(runs=runs), machine)
    for step in prepared_project.plan(environment=machine).steps:
        assert ("-> 99.1" in step.status.explain()) == (step.status.verdict == "stale")


def test_a_machine_with_a_gpu_reruns_no_step(prepared_project: Project) -> None:
    """The command line chooses the backend, so the GPU changes no artifact."""
    hold(prepared_project, Change(), Environment(gpu_list=(Gpu(0, "L4", 89, 24 * 2**30),)))


def reordered(project: Project) -> None:
    project.edit_yaml("            n_blocks: 1\n            num_mid_blocks: 1\n", "            num_mid_blocks: 1\n")
    project.edit_yaml("            num_heads: 2\n", "            num_heads: 2\n            n_blocks: 1\n")


def other_weights(project: Project) -> None:
    state = torch.load(project.weights, weights_only=True)
    state["decoder.estimator.final_proj.bias"] += 0.25
    torch.save(state, project.weights)


def newer(project: Project) -> None:
    project.weights.write_bytes(project.weights.read_bytes())


EDITS: Mapping[str, tuple[Callable[[Project], None], Mapping[str, str]]] = {
    "weights": (other_weights, {EXPORT: "input.weights: ", REFERENCE: "input.weights: ", **AFTER_EXPORT}),
    "weights written again": (newer, {}),
    "weights touched": (lambda p: os.utime(p.weights), {}),
    "a comment in the yaml": (lambda p: p.edit_yaml("sample_rate", "# a remark\nsample_rate"), {}),
    "order of the yaml's keys": (reordered, {}),
    "spelling of a yaml value": (lambda p: p.edit_yaml("act_fn: 'gelu'", 'act_fn: "gelu"  # exact'), {}),
    "a parameter of the solver": (
        lambda p: p.edit_yaml("inference_cfg_rate: 0.7", "inference_cfg_rate: 0.5"),
        {REFERENCE: "settings.solver.guidance: 0.7 -> 0.5", **AFTER_REFERENCE},
    ),
    "a hyper-parameter": (
        lambda p: p.edit_yaml("num_heads: 2\n", "num_heads: 4\n"),
        dict.fromkeys((EXPORT, REFERENCE), "settings.hyperparameters.num_heads: 2 -> 4") | AFTER_EXPORT,
    ),
    "another file in the model directory": (lambda p: (p.model / "llm.pt").write_bytes(b"x"), {}),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_of_the_model_directory_reruns_the_steps_that_read_it(project: Project, name: str) -> None:
    edit, runs = EDITS[name]
    edit(project)
    hold(project, Change(runs=runs))


def test_a_moved_model_directory_reruns_no_step(project: Project) -> None:
    project.model.rename(project.directory / "another place")
    hold(project, Change((f"model_dir='{project.directory / 'another place'}'",)))


def test_another_working_directory_and_environment_rerun_no_step(
    prepared_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_VARIABLE", "another value")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "17")
    hold(prepared_project, Change())


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile])
def test_a_copied_store_has_all_results(
    prepared_project: Project, tmp_path: Path, copy: Callable[[str, str], object]
) -> None:
    """The copy may have the times of its files or new ones."""
    shutil.copytree(prepared_project.directory / "store", tmp_path / "copy", copy_function=copy)
    hold(prepared_project, Change((f"store.path={tmp_path / 'copy'}",)))


def entry_of(project: Project, stage: str) -> Path:
    (path,) = (project.directory / "store" / "entries" / stage).iterdir()
    return path


def object_of(project: Project, label: str) -> Path:
    entry = project.plan().step(label).entry
    assert entry is not None
    return entry.files[0].path


def test_a_damaged_result_is_built_again(project: Project) -> None:
    flip(damaged := object_of(project, SIMPLIFY))
    hold(project, Change(runs={SIMPLIFY: f"its stored result is damaged: flow.decoder.estimator.fp32.onnx ({damaged})",
                               **AFTER_SIMPLIFY}))  # fmt: skip


def test_a_missing_result_is_built_again(project: Project) -> None:
    object_of(project, PRECISION).unlink()
    hold(project, Change(runs={PRECISION: "is missing", **AFTER_PRECISION}))


def test_a_damaged_entry_is_built_again(project: Project) -> None:
    flip(entry_of(project, "verify"), 40)
    hold(project, Change(runs={VERIFY: "its stored result is damaged: the entry "}))


def test_a_deleted_entry_is_built_again(project: Project) -> None:
    entry_of(project, "export").unlink()
    hold(project, Change(runs={EXPORT: "never built", **AFTER_EXPORT}))


def test_another_seed_of_random_weights_reruns_the_export(tmp_path: Path) -> None:
    """The weights have their own seed, apart from the seed of verification."""
    place = Project(tmp_path)
    hyperparameters = "{channels:[16],num_mid_blocks:1,n_blocks:1,num_heads:2,attention_head_dim:8}"
    words = ["model_dir=null", "model=cosyvoice2", f"model.hyperparameters={hyperparameters}", "simplify=none"]
    words += ["precision=fp32", "trt=none", "verify=off"]
    without = ("trt.backend", "trt.sm")
    place.build(*words, without=without)
    verdicts = {
        "model.seed=0": "already built",
        "model.seed=5": "settings.weights_seed: 0 -> 5",
        "model.hyperparameters.num_heads=4": "settings.hyperparameters.num_heads: 2 -> 4",
    }
    for word, why in verdicts.items():
        (step,) = place.plan(*words, word, without=without).steps
        assert step.status.explain() == why
