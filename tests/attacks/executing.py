"""Attempts to have foreign code executed by a person who imports a bundle and replays it."""

from __future__ import annotations

from typing import Any

from tests.attacks.ground import Attempt, Ground, Said, forged

KIND = "execute"
ELSEWHERE = "The record was imported"


def brings(name: str) -> Attempt:
    """Return an attempt with a member that could be imported or run."""
    return Attempt(
        KIND,
        f"a bundle brings {name}",
        "neither a record nor data",
        lambda ground: ground.command("import", str(forged(ground, more={name: ground.payload().encode()}))),
    )


def calls(target: Any, refusal: str, *trust: str, name: str = "", local: str = "") -> Attempt:
    """Return an attempt with a record that has another `model.target`.

    Args:
        trust: packages that the person allows.
        local: the name of a Python file with the payload in the working directory.
    """

    def make(ground: Ground) -> Said:
        def change(report: dict[str, Any]) -> None:
            report["config"]["model"]["target"] = target

        taken = ground.command("import", str(forged(ground, records={"run/report.json": change})))
        if taken.code:
            return taken
        name = ground.run().name
        if local:
            place = ground.directory / local
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(ground.payload())
        words = [word for package in trust for word in ("--trust", package)]
        return ground.command("replay", name, *words)

    shown = name or str(target.get("_target_") if isinstance(target, dict) else target)
    return Attempt(KIND, f"a record calls {shown}{f' (--trust {trust[0]})' if trust else ''}", refusal, make)


_TOUCH = {"_target_": "os.system", "command": "touch executed"}
_LOAD = {"_target_": "torch.load", "f": "x.pt", "weights_only": False}
_NOT_INSTALLED = "is not an installed package"
_NO_MODULE = "is not a class of torch.nn.Module"
_NOT_PUBLIC = "is not a public name of a package"

ATTEMPTS = (
    brings("run/payload.py"),
    brings("run/artifacts/payload.py"),
    brings("run/artifacts/payload.PY"),
    brings("run/artifacts/payload.so"),
    brings("run/artifacts/payload.cpython-311-x86_64-linux-gnu.so"),
    brings("run/artifacts/payload.pyc"),
    brings("run/evidence/sitecustomize.py"),
    brings("run/package/__init__.py"),
    brings("run/__pycache__/payload.cpython-311.pyc"),
    brings("run/payload.pth"),
    brings("run/.hydra/payload.py"),
    brings("run/foreign.json"),
    brings("store/payload.py"),
    calls(
        {"_target_": "outputs.runs.other.payload.Net"},
        _NOT_INSTALLED,
        "outputs",
        local="outputs/runs/other/payload.py",
    ),
    calls({"_target_": "payload.Net"}, "is not allowed", local="payload.py"),
    calls({"_target_": "payload.Net"}, _NOT_INSTALLED, "payload", local="payload.py"),
    calls({"_target_": "outputs.payload.Net"}, _NOT_INSTALLED, "outputs", local="outputs/payload.py"),
    calls({"_target_": "os.system", "command": "touch executed"}, "is not allowed"),
    calls({"_target_": "os.system", "command": "touch executed"}, "no installed distribution", "os"),
    calls({"_target_": "posix.system", "command": "touch executed"}, _NOT_INSTALLED, "posix"),
    calls({"_target_": "builtins.eval", "_args_": ["open('executed', 'w')"]}, _NOT_INSTALLED, "builtins"),
    calls({"_target_": "subprocess.Popen", "args": ["touch", "executed"]}, "no installed distribution", "subprocess"),
    calls(_LOAD, "is not allowed"),
    calls(_LOAD, _NO_MODULE, "torch"),
    calls({"_target_": "torch.jit.load", "f": "x.pt"}, _NO_MODULE, "torch"),
    calls({"_target_": "torch.hub.load", "repo_or_dir": "x", "model": "y"}, _NO_MODULE, "torch"),
    calls({"_target_": "torch.serialization.os.system", "command": "touch executed"}, _NO_MODULE, "torch"),
    calls({"_target_": "torch.nn.Module.__init__.__globals__"}, _NOT_PUBLIC, "torch"),
    calls({"_target_": "torch._dynamo.external_utils.FakeBackwardCFunction"}, _NOT_PUBLIC, "torch"),
    calls({"_target_": "torch.nn.Sequential", "_args_": [_TOUCH]}, "is not allowed", "torch", name="os.system, nested"),
    calls({"_target_": "torch.nn.Sequential", "_args_": [_LOAD]}, _NO_MODULE, "torch", name="torch.load, nested"),
    calls(
        {"_target_": "torch.nn.TransformerDecoder", "decoder_layer": {"a": [{"b": _TOUCH}]}, "num_layers": 1},
        "is not allowed",
        "torch",
        name="os.system, nested three deep",
    ),
    calls({"_target_": "hydra.utils.instantiate", "config": {"a": 1}}, _NO_MODULE, "hydra"),
    calls({"_target_": "hydra.utils.get_method", "path": "os.system"}, _NO_MODULE, "hydra"),
    calls({"_target_": "torch.nn.ReLU", "inplace": "${oc.env:HOME}"}, "is an interpolation", "torch", name="resolver"),
    calls({"_target_": "${oc.env:HOME}.x"}, _NOT_PUBLIC, "torch", name="a name with a resolver"),
    calls({"_target_": "torch.nn.ReLU", "inplace": "/etc/passwd"}, "could name a file", "torch", name="a path"),
    calls({"_target_": 3}, _NOT_PUBLIC, name="a number"),
    calls({"_target_": ["os.system"]}, _NOT_PUBLIC, name="a list"),
)
