"""The facts of a run as plain JSON, for plan.json, report.json and the origin in every manifest.

docs/report.md documents the schema. `json_records.SCHEMA` increases if a field changes its meaning or is removed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cosybuild
from cosybuild.building.plan import Plan
from cosybuild.building.record import Outcome
from cosybuild.building.record_json import json_from_outcome, json_from_plan
from cosybuild.building.wiring import in_part
from cosybuild.errors import INTERRUPTED
from cosybuild.models.components.registry import COMPONENTS, serving_facts
from cosybuild.models.shape_profile import Profile, listed_sizes, timed_axis
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from cosybuild.run.deliver import Delivered
from cosybuild.store.artifact import Artifact
from cosybuild.system.environment import Environment
from cosybuild.system.typed_json import to_json

DISTRIBUTIONS = (
    "cosybuild",
    "torch",
    "sympy",  # the sizes that torch's exporter reasons about
    "onnx",
    "onnx-ir",
    "onnxscript",
    "protobuf",  # the bytes of a graph
    "ml-dtypes",  # rounding to bfloat16
    "onnxruntime-gpu",
    "onnxruntime",
    "onnxsim",
    "tensorrt",
    "tensorrt-rtx",
    "openvino",
    "nvidia-modelopt",
    "onnx-graphsurgeon",
    "onnxconverter-common",
    "onnxslim",
    "polygraphy",
    "numpy",
    "safetensors",
    "hydra-core",
    "omegaconf",
    "pyyaml",
)
"""The packages that can change a result. The report has the versions of those that are installed."""


class Facts:
    """The facts of one run that are known before it begins; `plan` and `report` add the rest.

    Args:
        request: the request of the run.
        overrides: the overrides of the command line.
        config_digest: the digest of the configuration.
        environment: the facts of the machine.
        sources: the files that the run starts from, see `prepare.sources_of`.
    """

    def __init__(
        self,
        request: Request,
        overrides: tuple[str, ...],
        config_digest: str,
        environment: Environment,
        sources: Mapping[str, Artifact],
    ) -> None:
        self.request = request
        self.started = time.time()
        self.base: dict[str, Any] = {
            "cosybuild": cosybuild.__version__,
            "working_directory": str(Path.cwd()),
            "overrides": list(overrides),
            "config": to_json(request.settings),
            "config_digest": config_digest,
            "model": model_facts(request, sources),
            "profiles": _profiles(request),
            "environment": {"machine": environment.machine, "versions": versions_of(environment)},
        }

    def plan(self, plan: Plan) -> dict[str, Any]:
        """Return the content of plan.json: every step with its verdict and reasons, before any step runs."""
        return {**self.base, "steps": json_from_plan(plan)}

    def report(
        self,
        outcome: Outcome,
        *,
        finished: float | None,
        artifacts: Sequence[Delivered],
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return the content of report.json.

        Args:
            outcome: the records of the steps so far.
            finished: the end of the run in seconds since the epoch. It is None during the run, which gives the status
                `unfinished`, so that a killed run keeps this status.
            artifacts: the result of `deliver`.
            warnings: the warnings for the user that came from no step.
        """
        return {
            **self.base,
            **json_from_outcome(outcome),
            "status": _status(outcome, finished),
            "started": self.started,
            "seconds": None if finished is None else finished - self.started,
            "verified": _verified(outcome),
            "artifacts": to_json(artifacts),
            "warnings": list(warnings),
        }


def origin_of(facts: Mapping[str, Any], outcome: Outcome, part: str) -> dict[str, Any]:
    """Return the origin of a part's artifacts, as every manifest states it: model, configuration and versions.

    In a joint build, the field `voice` has the weights of all networks, which shows that their artifacts belong
    together.

    Args:
        facts: the run's facts or its report.
        outcome: the records of the run's steps.
        part: the name of one network in a joint build of several networks, else an empty text.
    """
    parts, networks = facts["model"]["parts"] if part else {}, {name.value for name in COMPONENTS}
    voice = {name: model["weights_digest"] or model["weights"] for name, model in parts.items() if name in networks}
    return {
        **{name: facts[name] for name in ("cosybuild", "config_digest")},
        **({"voice": voice} if voice else {}),
        "model": parts[part] if part else facts["model"],
        "built_with": {r.label: dict(r.environment) for r in outcome.records if r.outputs and r.part == part},
    }


def model_facts(request: Request, sources: Mapping[str, Artifact], part: str = "") -> dict[str, Any]:
    """Return the facts of the model, as `report.json` and every manifest state them.

    Args:
        request: the request of the model or, in a joint build, of all parts.
        sources: the result of `prepare.sources_of`.
        part: the name of one network in a joint build of several networks, else an empty text.
    """
    subject = request.subject
    weights = sources.get(in_part(part, "weights")) or sources.get(in_part(part, "graph"))
    if request.parts:
        return _joint({name: model_facts(one, sources, name) for name, one in request.parts.items()}, subject)
    return {
        "family": subject.family.value,
        "name": subject.stem,
        "origin": subject.origin,
        "streaming": subject.streaming,
        **({"form": list(subject.form)} if subject.form else {}),
        "weights": subject.weights_label,
        "weights_digest": None if weights is None else weights.digest,
        "random_weights": subject.has_random_weights is not False,
        "hyperparameters": dict(subject.hyperparameters),
        "code": None if subject.code is None else subject.code.parts,
        "inputs": [_tensor(t) for t in subject.spec.inputs],
        "outputs": [_tensor(t) for t in subject.spec.outputs],
        "frames_per_second": subject.spec.frames_per_second,
        **({} if subject.solver is None else {"solver": asdict(subject.solver)}),
        **({} if subject.prompt_mel is None else {"prompt_mel": dict(subject.prompt_mel)}),
        **serving_facts(subject.component, subject.variant),
        "notes": list(subject.notes),
    }


def _profiles(request: Request) -> list[Mapping[str, Any]]:
    """Return every profile. In a joint build of several networks, a network's name precedes the name of each axis."""
    return [
        {f"{part} {symbol}".lstrip(): sizes for symbol, sizes in _profile(profile, one.subject.spec).items()}
        for part, one in (request.parts or {"": request}).items()
        for profile in one.profiles
    ]


def _profile(profile: Profile, spec: ModelSpec) -> Mapping[str, Any]:
    rates = {symbol: timed_axis(symbol, spec).per_second for symbol in profile}
    return {s: {"sizes": sizes, "per_second": rates[s]} for s, sizes in listed_sizes(profile).items()}


def _joint(parts: Mapping[str, Mapping[str, Any]], subject: Subject) -> dict[str, Any]:
    """Combine the facts of several networks, called parts, into those of one model.

    Args:
        parts: the name of each part -> the facts of its network.
        subject: the subject of the joint build.
    """
    weights = {name: model["weights_digest"] or model["weights"] for name, model in parts.items()}
    return {
        "family": subject.family.value,
        "name": subject.stem,
        "origin": subject.origin,
        "streaming": subject.streaming,
        "weights": ", ".join(dict.fromkeys(model["weights"] for model in parts.values())),
        "weights_digest": hashlib.sha256(json.dumps(weights, sort_keys=True).encode()).hexdigest(),
        "random_weights": any(model["random_weights"] for model in parts.values()),
        "hyperparameters": {name: model["hyperparameters"] for name, model in parts.items()},
        "code": None,
        "inputs": [],
        "outputs": [],
        "frames_per_second": None,
        "notes": list(subject.notes),
        "parts": dict(parts),
    }


def _tensor(tensor: TensorSpec) -> Mapping[str, Any]:
    facts = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.generator != "integer" or not tensor.is_index:
        return facts
    # A runtime must refuse indices outside the range, because a graph cannot report them.
    return {**facts, "range": [int(tensor.low), int(tensor.high)]}


def versions_of(environment: Environment) -> dict[str, str]:
    """Return distribution -> version for the installed distributions of DISTRIBUTIONS."""
    found = ((name, environment.version(name)) for name in DISTRIBUTIONS)
    return {name: version for name, version in found if version is not None}


def _status(outcome: Outcome, finished: float | None) -> str:
    if outcome.failure is not None:
        return "interrupted" if outcome.failure.exit_code == INTERRUPTED else "failed"
    if finished is None:
        return "unfinished"
    return "pending" if outcome.doing("blocked") else "ok"


def _verified(outcome: Outcome) -> bool | None:
    """Return True if every verification passed, False if one failed or was not run, None if there was none."""
    verdicts = [r.action in ("hit", "pulled", "built") for r in outcome.records if r.stage.startswith("verify")]
    return all(verdicts) if verdicts else None
