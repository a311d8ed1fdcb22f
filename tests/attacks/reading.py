"""Attempts to have a foreign record read or write files of the machine."""

from __future__ import annotations

from typing import Any

from tests.attacks.ground import Attempt, Ground, Said, forged

KIND = "read or write"


def names(setting: str, value: str, refusal: str, **more: Any) -> Attempt:
    """Return an attempt with a record whose configuration names a file."""

    def make(ground: Ground) -> Said:
        def change(report: dict[str, Any]) -> None:
            *way, last = setting.split(".")
            node = report["config"]
            for step in way:
                node = node[step]
            node[last] = value
            report["config"]["model"].update(more)

        taken = ground.command("import", str(forged(ground, records={"run/report.json": change})))
        return taken if taken.code else ground.command("replay", ground.run().name, "--trust", "torch")

    return Attempt(KIND, f"a record names {setting}={value}", refusal, make)


_NO_FILE = "names files of another machine"

ATTEMPTS = (
    names("verify.lengths", "/etc/passwd", _NO_FILE),
    names("verify.lengths", "/dev/zero", _NO_FILE),
    names("model.weights", "/dev/zero", _NO_FILE),
    names("precision.calibration", "/etc", _NO_FILE),
    names("model_dir", "/etc", _NO_FILE, family="auto", target=None),
    names("model.path", "/etc/passwd", _NO_FILE, family="onnx", target=None),
    names("model.name", "../../escaped", "model.name"),
)
