"""`deploy`: the directory in service and the file names that a runtime expects there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Service(str, Enum):
    """The runtime whose file names are used (docs/runtimes.md has the table)."""

    cosyvoice = "cosyvoice"
    token2wav = "token2wav"
    triton = "triton"
    bundle = "bundle"


class TritonBackend(str, Enum):
    """The backend that runs the model inside tritonserver."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    tensorrt = "tensorrt"


class InstanceKind(str, Enum):
    """The kind of device that instances run on."""

    gpu = "gpu"
    cpu = "cpu"


@dataclass(frozen=True)
class TritonSettings:
    """Settings of a Triton model repository."""

    backend: TritonBackend = setting(TritonBackend.auto, "auto: tensorrt where a plan was built, else onnxruntime.")
    model: str | None = setting(None, "The model's name; null: the artifact's stem with underscores.")
    version: int = setting(1, "The version directory.")
    instances: int = setting(1, "Copies of the model on each device.")
    kind: InstanceKind = setting(InstanceKind.gpu, "gpu or cpu; a plan runs on gpu only.")
    queue_delay_us: int = setting(
        0, "Microseconds a request may wait for others of the same length; used where batch is dynamic."
    )


@dataclass(frozen=True)
class DeploySettings:
    """The target of a deployment and its conditions. They never change the artifacts."""

    service: Service = setting(
        Service.bundle, "cosyvoice, token2wav, triton: their names; bundle: everything there is."
    )
    dir: str | None = setting(
        None, "The model directory in service (triton: the model repository; bundle: any directory)."
    )
    target_sm: int | None = setting(
        None, "Compute capability times ten of the GPU that will load the engines; null: the GPU here."
    )
    device_id: int = setting(0, "The number that token2wav puts into the names of its plans.")
    force: bool = setting(
        False, "Deploy what is unverified, pending, random or for another GPU; manifests will say so."
    )
    keep_backups: int = setting(10, "Backups that a deployment leaves in the directory, the newest ones; at least 1.")
    sign: str | None = setting(
        None,
        "A private key (PEM) that signs the list of deployed files, for `check --verify-key`; needs the extra `sign`.",
    )
    triton: TritonSettings = setting(TritonSettings, "Only for service=triton.")
