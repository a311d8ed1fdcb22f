"""The errors for users. The number after a class is the exit code of the command; subclasses share it.

    CosybuildError                       1   (only subclasses are raised)
    ├── ConfigurationError               2   overrides, groups, contradictory settings
    ├── ModelError                       3   the model cannot be loaded
    │   ├── ModelDirectoryError              the directory or its yaml
    │   └── CheckpointError                  the weights: unreadable, foreign, of wrong shape, not finite
    ├── BuildError                       4   a stage could not make its artifact
    │   ├── ExportError                      torch.onnx failed, or its graph is invalid
    │   ├── SimplifyError                    onnxsim failed, or its graph gives other results
    │   ├── PrecisionError                   lowering to fp16 / bf16
    │   ├── EngineError                      the TensorRT family's parser, builder, inspection
    │   ├── OpenVinoError                    OpenVINO's reader and compiler, and the types that it computes in
    │   ├── OutOfMemory                      a step needs more memory than it can have
    │   └── SourceChanged                    a file that the build starts from changed while a step read it
    ├── VerificationError                5   the artifact computes other results than the reference
    ├── MissingRequirement               6   this machine lacks a package, a provider or a tool
    ├── StoreError                       7   the store: unwritable, full, damaged beyond repair
    ├── DriftError                       8   the results differ from a lock file or a record
    ├── Pending                          9   finished except for steps that need another machine (a GPU)
    ├── DeployError                     10   an artifact must not, or could not, be put into service
    └── ServingError                    11   raised in the process that serves (cosybuild.runtime)
        ├── ArtifactRefused                  the manifest is missing or forbids loading here
        ├── ShapeRefused                     no profile covers the call
        ├── VariantRefused                   streaming requested of a full-attention artifact, or the reverse
        └── PoolExhausted                    every execution context was busy for too long

Other exit codes: 130 after Ctrl-C; 141 if the reader of the output ended early (`| head`); 70 for a defect of cosybuild
itself, which is the only case that prints a traceback.

A message is one paragraph that says what was wrong, the value, and what was expected. `hint` is the next command.
"""

from __future__ import annotations

INTERRUPTED = 130
UNREAD = 141
DEFECT = 70


class CosybuildError(Exception):
    """The base of all errors meant for users.

    Args:
        message: one paragraph that names the value and what was expected.
        hint: the next step for the user, a command if there is one.
    """

    exit_code = 1
    kind = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class ConfigurationError(CosybuildError):
    exit_code = 2
    kind = "configuration"


class ModelError(CosybuildError):
    exit_code = 3
    kind = "model"


class ModelDirectoryError(ModelError):
    kind = "model directory"


class CheckpointError(ModelError):
    kind = "checkpoint"


class BuildError(CosybuildError):
    exit_code = 4
    kind = "build"


class ExportError(BuildError):
    kind = "export"


class SimplifyError(BuildError):
    kind = "simplify"


class PrecisionError(BuildError):
    kind = "precision"


class EngineError(BuildError):
    kind = "engine"


class OpenVinoError(BuildError):
    kind = "openvino"


class OutOfMemory(BuildError):
    kind = "out of memory"


class SourceChanged(BuildError):
    kind = "changed source"


class VerificationError(CosybuildError):
    exit_code = 5
    kind = "verification"


class MissingRequirement(CosybuildError):
    exit_code = 6
    kind = "missing requirement"


class StoreError(CosybuildError):
    exit_code = 7
    kind = "store"


class DriftError(CosybuildError):
    exit_code = 8
    kind = "drift"


class Pending(CosybuildError):
    exit_code = 9
    kind = "pending"


class DeployError(CosybuildError):
    exit_code = 10
    kind = "deployment"


class ServingError(CosybuildError):
    exit_code = 11
    kind = "serving"


class ArtifactRefused(ServingError):
    kind = "artifact"


class ShapeRefused(ServingError):
    kind = "shape"


class VariantRefused(ServingError):
    kind = "variant"


class PoolExhausted(ServingError):
    kind = "pool"
