"""Read a CosyVoice model directory: its version, and the hyper-parameters in its yaml."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.errors import ModelDirectoryError
from cosybuild.models.cosyvoice.families import FAMILIES, hyperparameter_fault
from cosybuild.models.directory.hyperpyyaml import Node, mapping
from cosybuild.models.directory.prompt_mel import prompt_mel_values
from cosybuild.models.directory.version import family_of, find_yaml, is_early
from cosybuild.models.subject import Solver
from cosybuild.printable import one_line

WEIGHTS = "flow.pt"

# Arguments that the estimator may have in a yaml although they are no hyper-parameters here (`out_channels` of a DiT).
_UNUSED = {"dropout", "num_decoding_left_chunks", "out_channels", "long_skip_connection"}
# Only the streaming variant needs this argument, and its default in CosyVoice is the published value.
_OPTIONAL = {"static_chunk_size"}
_SCHEDULES = ("cosine", "linear")
_LONGEST = 600
"""The largest number of characters of the fault in an error message; a longer text is cut."""


HyperparameterReader = Callable[[Path, Family, Mapping[str, Any]], dict[str, Any]]
"""A function (path of the yaml, version, parsed content of the yaml) -> hyper-parameters of one component."""


@dataclass(frozen=True)
class ModelDirectory:
    """The content of a model directory's yaml about one component and the solver.

    Attributes:
        path: the directory.
        yaml: the path of the yaml.
        family: the CosyVoice version.
        hyperparameters: those of the component.
        solver: schedule and guidance of the solver that calls the estimator.
        frames_per_second: mel frames per second of audio.
        prompt_mel: parameters of the prompt's mel spectrogram, see `prompt_mel_values`; None if the runtime cannot
            compute it.
        chunked: False if the estimator has no chunk mask, as in version 2 before April 2025.
    """

    path: Path
    yaml: Path
    family: Family
    hyperparameters: Mapping[str, Any]
    solver: Solver
    frames_per_second: float
    prompt_mel: Mapping[str, Any] | None = None
    chunked: bool = True


def estimator_hyperparameters(yaml: Path, family: Family, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of the estimator in a model directory's yaml.

    Args:
        yaml: path of the yaml, for error messages.
        family: the CosyVoice version.
        document: the parsed content of the yaml.

    Raises:
        ModelDirectoryError: the estimator is of another class, or a value is not valid.
    """
    estimator = child(yaml, document, "flow", "decoder").get("estimator")
    if not isinstance(estimator, Node):
        raise refused(yaml, "flow -> decoder -> estimator is not a `!new:` node")
    if family_of(estimator) is not family:
        found, expected = estimator.target.rpartition(".")[2], FAMILIES[family].upstream_class
        raise refused(yaml, f"the estimator is a {found}, where {family.value} has a {expected}")
    return _hyperparameters(yaml, family, estimator)


def read_model_directory(
    path: Path, read: HyperparameterReader = estimator_hyperparameters, asked: Family = Family.auto
) -> ModelDirectory:
    """Determine the version of a model directory and read its yaml.

    Args:
        path: the directory.
        read: function that reads the hyper-parameters of one component.
        asked: the setting `model`; it chooses the yaml if the directory has files of several versions.

    Raises:
        ModelDirectoryError: there is no yaml, there are yaml files of several versions, a network is of another class,
            or a value is not valid.
    """
    found = find_yaml(path, asked)
    family, yaml, document = found.family, found.path, found.document
    decoder = child(yaml, document, "flow", "decoder")
    estimator = decoder.get("estimator")
    return ModelDirectory(
        path=path,
        yaml=yaml,
        family=family,
        hyperparameters=read(yaml, family, document),
        solver=_solver(yaml, decoder),
        frames_per_second=_frames_per_second(yaml, family, document),
        prompt_mel=prompt_mel_values(family, document),
        chunked=not (isinstance(estimator, Node) and is_early(estimator)),
    )


def _hyperparameters(yaml: Path, family: Family, estimator: Node) -> dict[str, Any]:
    stated = estimator.arguments if isinstance(estimator.arguments, Mapping) else {}
    known = FAMILIES[family].hyperparameters
    name = estimator.target.rpartition(".")[2]
    shared = name == FAMILIES[Family.cosyvoice1].upstream_class
    unknown = sorted(set(stated) - set(known) - _UNUSED - ({"causal"} if shared else set()))
    if unknown:
        raise refused(yaml, f"the estimator, a {name}, has unknown arguments: {', '.join(unknown)}")
    if stated.get("long_skip_connection"):
        raise refused(yaml, "the estimator has long_skip_connection, which no published model has")
    missing = [name for name in known if name not in stated and name not in _OPTIONAL]
    if missing:
        raise refused(yaml, f"the estimator lacks {', '.join(missing)}")
    values = {name: stated.get(name, published) for name, published in known.items()}
    fault = hyperparameter_fault(family, values)
    if fault is not None:
        raise refused(yaml, f"the estimator's {fault}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def is_count(value: Any) -> bool:
    """Return True if `value` is an integer from 1 to 1,000,000, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000


def _solver(yaml: Path, decoder: Mapping[str, Any]) -> Solver:
    parameters = decoder.get("cfm_params")
    content = mapping(mapping(parameters).get("content"))
    schedule = content.get("t_scheduler", Solver.schedule)
    guidance = content.get("inference_cfg_rate", Solver.guidance)
    if schedule not in _SCHEDULES:
        raise refused(yaml, f"the solver's t_scheduler is {schedule!r}; expected one of {', '.join(_SCHEDULES)}")
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not math.isfinite(guidance):
        raise refused(yaml, f"the solver's inference_cfg_rate is {guidance!r}, where a number is expected")
    return Solver(schedule=schedule, guidance=float(guidance))


def _frames_per_second(yaml: Path, family: Family, document: Mapping[str, Any]) -> float:
    tokens, ratio = document.get("token_frame_rate"), document.get("token_mel_ratio")
    if family is not Family.cosyvoice1 and is_count(tokens) and is_count(ratio):
        return float(int(tokens) * int(ratio))  # type: ignore[arg-type]  # counts, as just checked
    rate = document.get("sample_rate")
    if not is_count(rate):
        return FAMILIES[family].frames_per_second
    assert isinstance(rate, int)
    # The mel hop in samples: 256 in version 1, 480 afterwards.
    return rate / (256 if family is Family.cosyvoice1 else 480)


def child(yaml: Path, document: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the mapping that the keys `names` lead to, one inside the other. A `Node` stands for its arguments.

    Args:
        yaml: path of the yaml, for error messages.
        document: the mapping to start from.
        *names: the keys.

    Raises:
        ModelDirectoryError: a key is missing.
    """
    value: Any = document
    for index, name in enumerate(names):
        value = mapping(value).get(name)
        if value is None:
            raise refused(yaml, f"{' -> '.join(names[: index + 1])} is missing")
    return mapping(value)


def refused(yaml: Path, what: str) -> ModelDirectoryError:
    """Return the error for a fault in a model directory's yaml.

    Args:
        yaml: path of the yaml.
        what: the fault, a clause without a full stop; a long text is cut.
    """
    shown = one_line(what if len(what) <= _LONGEST else f"{what[:_LONGEST]}...")
    return ModelDirectoryError(
        f"{yaml}: {shown}.", hint="Next: compare the file with the one of the published model of this version."
    )
