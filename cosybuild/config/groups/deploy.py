"""`deploy`: the copying of artifacts into a directory in service, under the file names that a runtime expects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Service(str, Enum):
    """The runtime that reads the deployed files. docs/runtimes.md has the table of its file names."""

    cosyvoice = "cosyvoice"
    token2wav = "token2wav"
    vllm_omni = "vllm_omni"
    sglang_omni = "sglang_omni"
    triton = "triton"
    bundle = "bundle"


class TritonBackend(str, Enum):
    """The backend of tritonserver that runs the model."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    tensorrt = "tensorrt"


class InstanceKind(str, Enum):
    """The kind of device on which instances of a Triton model run."""

    gpu = "gpu"
    cpu = "cpu"


@dataclass(frozen=True)
class TritonSettings:
    """Settings of a model in a Triton repository."""

    backend: TritonBackend = setting(TritonBackend.auto, "auto: tensorrt if the run built a plan, else onnxruntime.")
    model: str | None = setting(
        None, "The name of the model; null: the artifact's stem with underscores, or token2wav for a whole voice."
    )
    version: int = setting(1, "The number of the version directory.")
    instances: int = setting(1, "The number of copies of the model on each device.")
    kind: InstanceKind = setting(
        InstanceKind.gpu,
        "The kind of device: gpu or cpu; a plan runs on gpu only.",
    )
    queue_delay_us: int = setting(
        0, "The time in microseconds that a request may wait for others of the same length, if the batch is dynamic."
    )
    token_base: int = setting(
        0,
        "For component=token2wav: the id of speech token 0 in the requests; CosyVoice 2's Triton example sends 151663.",
    )


@dataclass(frozen=True)
class DeploySettings:
    """The target and the conditions of a deployment. They change no artifact."""

    service: Service = setting(
        Service.bundle,
        "The runtime that reads the files; bundle takes all artifacts, each of the others reads fixed file names.",
    )
    dir: str | None = setting(
        None, "The model directory in service (triton: the model repository; bundle: any directory)."
    )
    create: bool = setting(
        False, "Create `dir` if it does not exist, and accept one that does not look like what the service reads."
    )
    target_sm: int | None = setting(
        None, "Compute capability times ten of the GPU that will load the engines; null: the GPU of this machine."
    )
    device_id: int = setting(0, "The number of the GPU, which is a part of token2wav's file names of plans.")
    force: bool = setting(
        False,
        "Deploy in spite of objections, such as no verification, random weights or another GPU; the manifests record "
        "them.",
    )
    keep_backups: int = setting(10, "The number of newest backups to keep in the directory; at least 1.")
    sign: str | None = setting(
        None,
        "A private key (PEM) that signs the list of deployed files, for `check --verify-key`; needs the extra `sign`.",
    )
    triton: TritonSettings = setting(TritonSettings, "Settings for service=triton only.")
