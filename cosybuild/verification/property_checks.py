"""The check of an artifact against its contract: selects the properties and sizes to test, and raises the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import Emit
from cosybuild.errors import VerificationError
from cosybuild.identity import ESTIMATOR_INPUTS
from cosybuild.models.dimension import size_of, symbols_of
from cosybuild.models.real_inputs import GivenBatch
from cosybuild.models.shape_profile import BATCH, FRAMES, Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.numerics.real_inputs import read_batch
from cosybuild.verification.experiments import Trial, try_properties
from cosybuild.verification.properties import PROPERTIES, Finding, counted

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array

LENGTH = 24
"""Frames of every experiment without chunks. A violated property shows at any length, and short runs are cheap."""

MANY = 67
"""The size to which one dynamic axis at a time is set while all other axes are small."""


@dataclass(frozen=True)
class Examined:
    """An artifact that is checked against the contract, with the session that runs it.

    Attributes:
        path: the ONNX file; None for an artifact of another format, whose interface an earlier check has compared.
        declared: inputs and outputs, in the types that the file must have.
        session: the session that runs the artifact.
        taken: inputs and outputs, in the types that `session` takes: those of `declared`, or float32 if the session
            emulates storage types.
        in_place: function (inputs, name of an input) that runs the artifact with its output in the memory of that
            input; None if the session cannot bind memory.
        computed_in: `float32`, `float16` or `bfloat16`.
    """

    path: Path | None
    declared: ModelSpec
    session: Session
    taken: ModelSpec
    in_place: Callable[[Mapping[str, Array], str], Array] | None
    computed_in: str


def check_contract(
    examined: Examined,
    subject: Subject,
    profiles: Sequence[Profile],
    seed: int,
    emit: Emit,
    given: Sequence[GivenBatch] = (),
) -> dict[str, Any]:
    """Test every property that applies to the artifact, and return the findings as plain data for the report.

    Args:
        examined: the artifact.
        subject: the model that the artifact computes.
        profiles: sizes that the artifact takes; empty if it takes any size.
        seed: seed of the drawn inputs.
        emit: function that reports events.
        given: batches of real inputs. If there are any, the experiments are left out: they draw inputs, and the model
            may not accept drawn ones.

    Raises:
        VerificationError: at least one property does not hold; the message names each of them.
    """
    # The file of a user may state wrong output shapes. The step `reference` compares them, so they are not compared
    # here.
    foreign = subject.graph is not None
    findings = [] if examined.path is None else [_interface(examined, examined.path, foreign=foreign)]
    if examined.path is not None and examined.declared.norms and examined.computed_in == "float32":
        findings.append(_norms(examined, examined.path))
    if all(finding.holds for finding in findings):
        trials = _given_trials(examined, given) if given else _drawn_trials(examined, profiles)
        findings.append(counted("axes", f"run at {len(trials)} sizes", list(_axis_faults(examined, trials, foreign))))
    left_out: dict[str, str] = {}
    if given:
        left_out = dict.fromkeys(_EXPERIMENTS, "its inputs are drawn, and verify.inputs replaces drawn inputs")
    elif all(finding.holds for finding in findings):
        left_out = _left_out(examined, subject, profiles)
        if "independent_rows" not in left_out:
            trial = _trial(examined, subject, profiles, seed, left_out)
            findings += [f for f in try_properties(trial) if f.name not in left_out]
    failed = [finding for finding in findings if not finding.holds]
    if failed:
        broken = [finding.facts() for finding in failed]
        emit("note", message=f"properties of the contract do not hold: {', '.join(_names(failed))}", properties=broken)
        raise VerificationError(
            f"The {examined.computed_in} graph on {examined.session.device}: property "
            f"{'; property '.join(map(str, failed))}.",
            hint="Next: do not use the artifact. docs/verification.md explains each property. If the build passes "
            "with simplify=none or precision=fp32, that step has the fault; otherwise the model's own code has it.",
        )
    return {"properties": [finding.facts() for finding in findings], "not_tried": left_out}


def _names(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return the names of the properties of the findings, each once, in order."""
    return tuple(dict.fromkeys(finding.name for finding in findings))


def _interface(examined: Examined, path: Path, *, foreign: bool) -> Finding:
    from cosybuild.onnxgraph.files import load_structure
    from cosybuild.onnxgraph.interface import interface_faults

    declared = examined.declared
    faults = interface_faults(load_structure(path), declared, output_shapes=not foreign)
    return counted("interface", f"{len(declared.inputs) + len(declared.outputs)} tensors read from the file", faults)


def _norms(examined: Examined, path: Path) -> Finding:
    from cosybuild.onnxgraph.files import load_structure
    from cosybuild.onnxgraph.summary import layer_norms

    declared = examined.declared.norms
    found = layer_norms(load_structure(path))
    faults = [
        f"{found.get(epsilon, 0)} have epsilon {epsilon}, {declared.get(epsilon, 0)} are expected"
        for epsilon in sorted({*declared, *found})
        if found.get(epsilon, 0) != declared.get(epsilon, 0)
    ]
    return counted("norms", f"{sum(declared.values())} nodes read from the file", faults)


_EXPERIMENTS = tuple(name for name in PROPERTIES if name not in ("interface", "norms", "axes"))
_Trial = tuple[Mapping[str, int], Callable[[], Mapping[str, "Array"]]]
"""Sizes by symbol, and a function that returns inputs of these sizes."""


def _drawn_trials(examined: Examined, profiles: Sequence[Profile]) -> list[_Trial]:
    return [(sizes, partial(draw_inputs, examined.taken, Draw(sizes))) for sizes in _sizes(examined.taken, profiles)]


def _given_trials(examined: Examined, given: Sequence[GivenBatch]) -> list[_Trial]:
    """Return one trial for each different combination of sizes among the batches of real inputs."""
    first = {tuple(batch.sizes.items()): batch for batch in reversed(given)}
    return [(batch.sizes, partial(read_batch, batch, examined.taken)) for batch in first.values()]


def _axis_faults(examined: Examined, trials: Sequence[_Trial], foreign: bool) -> Iterator[str]:
    from cosybuild.backends.session import InferenceFailed

    for sizes, inputs in trials:
        where = " ".join(f"{symbol}={size}" for symbol, size in sizes.items()) or "fixed sizes"
        try:
            outputs = examined.session.infer(inputs())
        except InferenceFailed as error:
            yield f"{where} cannot be computed: {error}"
            continue
        for tensor in () if foreign else examined.declared.outputs:
            wanted = [_size(axis, sizes) for axis in tensor.shape]
            found = outputs[tensor.name].shape
            if len(found) != len(wanted) or any(w not in (None, f) for w, f in zip(wanted, found, strict=True)):
                yield f"at {where} {tensor.name} has shape {found}, {tuple(wanted)} is expected"


def _sizes(spec: ModelSpec, profiles: Sequence[Profile]) -> list[dict[str, int]]:
    """Return the combinations of sizes to run: a base, and two variations for each symbol.

    The first variation changes the symbol by one step: up, or down if the profile does not cover the size above. The
    second sets the symbol to `MANY` and all other symbols to their smallest size. `MANY` exceeds the size of an
    exporter's example input. If an exporter froze an axis at the size of its example input, the graph fails only above
    that size.
    """
    base = {symbol: _within(profiles, symbol, 2 if symbol == BATCH else LENGTH) for symbol in spec.symbols}
    least = {symbol: min(size, _within(profiles, symbol, 2)) for symbol, size in base.items()}
    several = [base]
    for symbol, size in base.items():
        unit = profiles[0][symbol].multiple_of if profiles else 1
        others = (_within(profiles, symbol, size + step) for step in (unit, -unit))
        several += [{**base, symbol: n} for n in others if n != size and n > 0][:1]
        several.append({**least, symbol: _within(profiles, symbol, MANY)})
    return list({tuple(sizes.items()): sizes for sizes in several}.values())


def tried_sizes(subject: Subject, profiles: Sequence[Profile]) -> list[dict[str, int]]:
    """Return the sizes of all runs of `check_contract` as plain data, for the keys of steps."""
    chunked = [{FRAMES: _frames(subject.spec, profiles, _chunked_length(subject))}] if _chunk(subject) else []
    return [*_sizes(subject.spec, profiles), *chunked]


def _within(profiles: Sequence[Profile], symbol: str, size: int) -> int:
    """Return the size that is nearest to `size` and in the first profile; `size` itself without profiles."""
    return profiles[0][symbol].nearest(size) if profiles else size


def _frames(spec: ModelSpec, profiles: Sequence[Profile], size: int) -> int:
    """Return the fixed number of frames; if frames are dynamic, the number nearest to `size` in the first profile."""
    frames = spec.inputs[0].shape[-1]
    return frames if isinstance(frames, int) else _within(profiles, FRAMES, size)


def _size(axis: int | str, sizes: Mapping[str, int]) -> int | None:
    """Return the size of an output's axis; None if it has a symbol that no input has, so that the size is not known."""
    return None if set(symbols_of(axis)) - set(sizes) else size_of(axis, sizes)


def _left_out(examined: Examined, subject: Subject, profiles: Sequence[Profile]) -> dict[str, str]:
    """Return property -> reason, for the properties that are not tested on this artifact."""
    spec = examined.taken
    if not spec.guidance or tuple(tensor.name for tensor in spec.inputs) != ESTIMATOR_INPUTS:
        return dict.fromkeys(_EXPERIMENTS, "only CosyVoice's estimators have this property")
    rows = _rows(spec, profiles)
    if rows < 2:
        return dict.fromkeys(_EXPERIMENTS, "the profile has no batch of two rows")
    reasons = {}
    if _larger(spec, profiles, rows) is None:
        reasons["batch_size"] = "the batch is fixed"
    if examined.in_place is None:
        reasons["in_place"] = f"{examined.session.device} cannot bind memory"
    if not subject.streaming:
        reasons["future_chunks"] = "attention is full"
    elif _chunk(subject) == 0:
        halved = "its lower resolutions look one frame ahead and have longer chunks"
        reasons.update(dict.fromkeys(("future_chunks", "attention_span"), halved))
    elif _frames(spec, profiles, _chunked_length(subject)) <= _chunk(subject):
        reasons.update(dict.fromkeys(("future_chunks", "attention_span"), "the profile ends within the first chunk"))
    return reasons


def _trial(
    examined: Examined, subject: Subject, profiles: Sequence[Profile], seed: int, left_out: Mapping[str, str]
) -> Trial:
    (output,) = (tensor.name for tensor in examined.taken.outputs)
    in_place = examined.in_place
    rows = _rows(examined.taken, profiles)
    return Trial(
        spec=examined.taken,
        infer=lambda inputs: examined.session.infer(inputs)[output],
        in_place=None if in_place is None else lambda inputs: in_place(inputs, "x"),
        computed_in=examined.computed_in,
        length=_frames(examined.taken, profiles, LENGTH),
        batch=rows,
        larger_batch=_larger(examined.taken, profiles, rows),
        chunk=_chunk(subject),
        chunked_length=0
        if "future_chunks" in left_out
        else _frames(examined.taken, profiles, _chunked_length(subject)),
        seed=seed,
    )


def _rows(spec: ModelSpec, profiles: Sequence[Profile]) -> int:
    first = spec.inputs[0].shape[0]
    return first if isinstance(first, int) else _within(profiles, first, 2)


def _larger(spec: ModelSpec, profiles: Sequence[Profile], rows: int) -> int | None:
    first = spec.inputs[0].shape[0]
    larger = rows if isinstance(first, int) else _within(profiles, first, 2 * rows)
    return larger if larger > rows else None


def _chunk(subject: Subject) -> int:
    """Return the frames of a chunk; 0 if attention is full or if the network's lower resolutions have other chunks."""
    chunk = int(subject.hyperparameters.get("static_chunk_size", 0)) if subject.streaming else 0
    return chunk if chunk and len(subject.hyperparameters.get("channels", (0,))) == 1 else 0


def _chunked_length(subject: Subject) -> int:
    return _chunk(subject) + _chunk(subject) // 2 + 1


def with_dtype(spec: ModelSpec, dtype: str) -> ModelSpec:
    """Return `spec` with the type `dtype` in place of float32 for every input and output."""

    def side(tensors: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(t, dtype=dtype) if t.dtype == "float32" else t for t in tensors)

    return replace(spec, inputs=side(spec.inputs), outputs=side(spec.outputs))
