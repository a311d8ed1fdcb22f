"""The table of the exact file names that each runtime reads (docs/runtimes.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosybuild.config.groups.deploy import Service
from cosybuild.deploy.deliverable import GRAPH, IR, PLAN, SCRIPT, Deliverable
from cosybuild.errors import DeployError
from cosybuild.identity import CACHED_ESTIMATOR, ESTIMATOR, part_of

CAMPPLUS = "campplus"
ENCODER = "flow.encoder"
_TENSORRT = "tensorrt"


@dataclass(frozen=True)
class Row:
    """One file that one runtime reads.

    Attributes:
        service: the runtime.
        stem: the beginning of the artifact's own name.
        families: the model families that the runtime serves; empty for all.
        kind: the kind of artifact, see `Deliverable.kind`.
        name: the name of the file in the directory in service; `{id}` stands for the number of the GPU.
        dtype: the element type of all inputs and outputs.
        dynamic_batch: True or False for a dynamic or fixed batch; None if both are accepted.
        streaming: True for the streaming variant.
        required: True if a deployment without this file is refused.
        retires: patterns of the names of other files that the runtime would use in place of this one without a check:
            engines that somebody made from an earlier file, and graphs that the runtime opens first.
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
    retires: tuple[str, ...] = ()

    def takes(self, item: Deliverable) -> bool:
        """Return True if the artifact `item` is what the runtime expects in this file."""
        # The build gives a TorchScript file the runtime's name, and such a file has both attention variants.
        if self.kind == SCRIPT:
            return item.kind == SCRIPT and item.path.name == self.name and self.serves(item)
        return (
            item.path.name.startswith(f"{self.stem}.")
            and item.kind == self.kind
            and item.dtype == self.dtype
            and self.dynamic_batch in (None, item.dynamic_batch)
            and item.streaming == self.streaming
            # Upstream's runtimes import tensorrt, which cannot read plans of TensorRT-RTX.
            and item.library in (None, _TENSORRT)
            and self.serves(item)
        )

    def serves(self, item: Deliverable) -> bool:
        """Return True if the runtime serves the model family of the artifact `item`."""
        return not self.families or item.model["family"] in self.families


def _estimator(service: Service, families: tuple[str, ...], kind: str, name: str, dtype: str, **more: object) -> Row:
    return Row(service, ESTIMATOR, families, kind, f"{ESTIMATOR}.{name}", dtype, **more)  # type: ignore[arg-type]  # fields by name


_ANY = ("cosyvoice1", "cosyvoice2", "cosyvoice3")
_WITH_ENCODER = ("cosyvoice1", "cosyvoice2")
_TWO, _THREE = ("cosyvoice2",), ("cosyvoice3",)
_COSYVOICE, _TOKEN2WAV = Service.cosyvoice, Service.token2wav
_AUTOCAST = "autocast_fp16.onnx"

ROWS: tuple[Row, ...] = (
    _estimator(
        _COSYVOICE, _ANY, GRAPH, "fp32.onnx", "float32", required=True, retires=(f"{ESTIMATOR}.fp??.mygpu.plan",)
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
        retires=(f"{ESTIMATOR}.fp16.dynamic_batch.*.plan",),
    ),
    _estimator(_TOKEN2WAV, _TWO, PLAN, "fp16.dynamic_batch.l20.plan", "float16", dynamic_batch=True),
    # Both runtimes build an engine of their own. If the name of the graph has no "fp16", they build the engine with
    # TensorRT's weak FP16, whose results nobody has verified. So each must find the lowered graph before any other.
    _estimator(Service.vllm_omni, _THREE, GRAPH, _AUTOCAST, "float16", required=True),
    _estimator(
        Service.sglang_omni,
        _THREE,
        GRAPH,
        _AUTOCAST,
        "float16",
        required=True,
        retires=(f"{ESTIMATOR}.fp32.onnx", f"{ESTIMATOR}.onnx"),
    ),
    *(
        row
        for streaming, infix in ((False, ""), (True, "streaming."))
        for row in (
            _estimator(
                _TOKEN2WAV,
                _THREE,
                GRAPH,
                f"{infix}{_AUTOCAST}",
                "float16",
                streaming=streaming,
                required=True,
                retires=(f"{ESTIMATOR}.{infix}autocast_fp16.*.plan",),
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
            retires=(f"{CAMPPLUS}.*.fp32.plan", f"{CAMPPLUS}.*.fp32.trt"),
        )
        for service in (_COSYVOICE, _TOKEN2WAV)
    ),
    *(
        Row(_COSYVOICE, ENCODER, _WITH_ENCODER, SCRIPT, f"{ENCODER}.{dtype}.zip", dtype, required=True)
        for dtype in ("fp32", "fp16")
    ),
    *(
        Row(_TOKEN2WAV, CAMPPLUS, (), PLAN, f"{CAMPPLUS}.{name}", "float32", dynamic_batch=None)
        for name in ("{id}.fp32.plan", "l20.fp32.trt")
    ),
)


def rows_for(service: Service, items: Sequence[Deliverable]) -> list[Row]:
    """Return the rows of a service for which an artifact has the stem, the family and the attention variant.

    Args:
        service: the service.
        items: the artifacts that the run delivered.

    Raises:
        DeployError: the runtime reads none of the artifacts.
    """
    rows = [
        row
        for row in ROWS
        if row.service is service
        and any(
            item.path.name.startswith(f"{row.stem}.")
            and row.serves(item)
            and (row.kind == SCRIPT or row.streaming == item.streaming)
            for item in items
        )
    ]
    if not rows:
        known = "; ".join(item.describe() for item in items) or "nothing"
        raise DeployError(
            f"deploy={service.value} does not read any artifact of this run: {known}.",
            hint="Next: deploy=bundle accepts all artifacts; docs/runtimes.md lists the files of each runtime.",
        )
    return rows


def bundle_name(item: Deliverable) -> str:
    """Return the name of an artifact in a bundle.

    A graph of the estimator gets the name of its contract (docs/contract.md). Any other artifact keeps its name.
    """
    # OpenVINO looks for the weights of an IR under the same name with the suffix .bin, so do not rename an IR.
    if item.kind in (PLAN, IR) or not item.path.name.startswith(f"{ESTIMATOR}."):
        return item.path.name
    if part_of(item.path.name, item.manifest) == CACHED_ESTIMATOR:  # this contract does not apply to it
        return item.path.name
    precision = {"float32": "fp32", "float16": "autocast_fp16"}.get(item.dtype or "")
    if precision is None:
        return item.path.name
    streaming, batch = ".streaming" if item.streaming else "", ".dynamic_batch" if item.dynamic_batch else ""
    return f"{ESTIMATOR}{streaming}.{precision}{batch}.onnx"
