"""The table of exact file names: which runtime reads what, under which name (docs/runtimes.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosybuild.config.groups.deploy import Service
from cosybuild.deploy.deliverable import GRAPH, PLAN, Deliverable
from cosybuild.errors import DeployError
from cosybuild.identity import ESTIMATOR

CAMPPLUS = "campplus"
_TENSORRT = "tensorrt"


@dataclass(frozen=True)
class Row:
    """One file of one runtime.

    Attributes:
        stem: what the artifact's own name begins with.
        families: of models the runtime serves; empty for any.
        name: the file's name; `{id}` is the device's number.
        derived: patterns of files that a runtime made, or was given, from this one. They are retired when
            it is replaced, for a runtime takes them as they are.
        required: without it nothing is deployed.
        dynamic_batch: None where either serves.
    """

    service: Service
    stem: str
    families: tuple[str, ...]
    kind: str
    name: str
    dtype: str
    dynamic_batch: bool | None = False
    streaming: bool = False
    required: bool = False
    derived: tuple[str, ...] = ()

    def takes(self, item: Deliverable) -> bool:
        """Whether `item` is what the runtime expects under this name."""
        return (
            item.path.name.startswith(f"{self.stem}.")
            and item.kind == self.kind
            and item.dtype == self.dtype
            and self.dynamic_batch in (None, item.dynamic_batch)
            and item.streaming == self.streaming
            # Upstream's runtimes import tensorrt; what TensorRT-RTX builds they cannot read.
            and item.flavour in (None, _TENSORRT)
            and self.serves(item)
        )

    def serves(self, item: Deliverable) -> bool:
        """Whether the runtime is one for this model."""
        return not self.families or item.model["family"] in self.families


def _estimator(service: Service, families: tuple[str, ...], kind: str, name: str, dtype: str, **more: object) -> Row:
    return Row(service, ESTIMATOR, families, kind, f"{ESTIMATOR}.{name}", dtype, **more)  # type: ignore[arg-type]  # fields by name


_ANY = ("cosyvoice1", "cosyvoice2", "cosyvoice3")
_TWO, _THREE = ("cosyvoice2",), ("cosyvoice3",)
_COSYVOICE, _TOKEN2WAV = Service.cosyvoice, Service.token2wav

ROWS: tuple[Row, ...] = (
    _estimator(
        _COSYVOICE, _ANY, GRAPH, "fp32.onnx", "float32", required=True, derived=(f"{ESTIMATOR}.fp??.mygpu.plan",)
    ),
    _estimator(_COSYVOICE, _ANY, PLAN, "fp32.mygpu.plan", "float32"),
    _estimator(_COSYVOICE, _ANY, PLAN, "fp16.mygpu.plan", "float16"),
    _estimator(
        _TOKEN2WAV,
        _TWO,
        GRAPH,
        "fp32.dynamic_batch.onnx",
        "float32",
        dynamic_batch=True,
        required=True,
        derived=(f"{ESTIMATOR}.fp16.dynamic_batch.*.plan",),
    ),
    _estimator(_TOKEN2WAV, _TWO, PLAN, "fp16.dynamic_batch.l20.plan", "float16", dynamic_batch=True),
    *(
        row
        for streaming, infix in ((False, ""), (True, "streaming."))
        for row in (
            _estimator(
                _TOKEN2WAV,
                _THREE,
                GRAPH,
                f"{infix}autocast_fp16.onnx",
                "float16",
                streaming=streaming,
                required=True,
                derived=(f"{ESTIMATOR}.{infix}autocast_fp16.*.plan",),
            ),
            _estimator(_TOKEN2WAV, _THREE, PLAN, f"{infix}autocast_fp16.{{id}}.plan", "float16", streaming=streaming),
        )
    ),
    *(
        Row(
            service,
            CAMPPLUS,
            (),
            GRAPH,
            f"{CAMPPLUS}.onnx",
            "float32",
            dynamic_batch=None,
            required=True,
            derived=(f"{CAMPPLUS}.*.fp32.plan", f"{CAMPPLUS}.*.fp32.trt"),
        )
        for service in (_COSYVOICE, _TOKEN2WAV)
    ),
    *(
        Row(_TOKEN2WAV, CAMPPLUS, (), PLAN, f"{CAMPPLUS}.{name}", "float32", dynamic_batch=None)
        for name in ("{id}.fp32.plan", "l20.fp32.trt")
    ),
)


def rows_for(service: Service, items: Sequence[Deliverable]) -> list[Row]:
    """The rows that concern what was delivered: its stem, its family, its attention.

    Raises:
        DeployError: the runtime reads nothing of that kind.
    """
    rows = [
        row
        for row in ROWS
        if row.service is service
        and any(
            item.path.name.startswith(f"{row.stem}.") and row.serves(item) and row.streaming == item.streaming
            for item in items
        )
    ]
    if not rows:
        known = "; ".join(item.describe() for item in items) or "nothing"
        raise DeployError(
            f"deploy={service.value} reads none of what this run delivered: {known}.",
            hint="Next: deploy=bundle takes everything; docs/runtimes.md says which runtime reads what.",
        )
    return rows


def bundle_name(item: Deliverable) -> str:
    """What a bundle calls an artifact: the contract's name for the estimator's graphs, else the run's own."""
    if item.kind == PLAN or not item.path.name.startswith(f"{ESTIMATOR}."):
        return item.path.name
    precision = {"float32": "fp32", "float16": "autocast_fp16"}.get(item.dtype or "")
    if precision is None:
        return item.path.name
    streaming, batch = ".streaming" if item.streaming else "", ".dynamic_batch" if item.dynamic_batch else ""
    return f"{ESTIMATOR}{streaming}.{precision}{batch}.onnx"
