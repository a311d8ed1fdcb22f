"""Build the wheel, install it into an empty environment, and use it outside the checkout.

    python scripts/try_wheel.py            # a very small model, the verbs that need files of the wheel
    python scripts/try_wheel.py --full     # and the main job, at full size with random weights

This is a release step (CONTRIBUTING.md). It takes minutes, most of them in pip.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("trt=none", "verify=upstream", "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]")
WHERE = """
import json, sys
from pathlib import Path
import cosybuild, hydra_plugins.cosybuild_ray
from cosybuild.config.compose import config_directory
from cosybuild.run.tested_versions import read_tested
print(json.dumps({
    "package": cosybuild.__file__,
    "plugin": hydra_plugins.cosybuild_ray.__file__,
    "conf": str(config_directory()),
    "tested": str(read_tested().path),
    "options": sorted(p.relative_to(config_directory()).as_posix() for p in config_directory().rglob("*.yaml")),
    "path": [str(Path(p or ".").resolve()) for p in sys.path],
}))
"""


class Elsewhere:
    """An environment and a working directory outside the checkout."""

    def __init__(self, directory: Path) -> None:
        self.python = directory / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.here = directory / "here"
        self.here.mkdir()

    def run(self, *words: str) -> str:
        """Return the output of `python` with these arguments; it must succeed."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        begun = time.monotonic()
        done = subprocess.run(
            [str(self.python), *words], cwd=self.here, env=outside, capture_output=True, text=True, check=False
        )
        shown = " ".join(words) if words[0] == "-m" else words[0]
        print(f"{time.monotonic() - begun:7.1f} s  python {shown}", flush=True)
        if done.returncode != 0:
            raise SystemExit(f"ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def cosybuild(self, *words: str) -> str:
        return self.run("-m", "cosybuild", *words)


def install(directory: Path, elsewhere: Elsewhere) -> None:
    """Make the wheel, and an environment with the wheel and its requirements."""
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("cosybuild-*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    begun = time.monotonic()
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([str(elsewhere.python), "-m", "pip", "install", "--quiet", *constraints, str(wheel)], check=True)
    print(f"{time.monotonic() - begun:7.1f} s  pip install {wheel.name}", flush=True)


def check_place(elsewhere: Elsewhere, venv: Path) -> None:
    """Check that all imports come from the environment, and that the wheel has conf/ and the tested versions."""
    found = json.loads(elsewhere.run("-c", WHERE))
    for name in ("package", "plugin", "conf", "tested"):
        assert Path(found[name]).is_relative_to(venv), f"{name} is {found[name]}"
    strangers = [place for place in found["path"] if Path(place).is_relative_to(ROOT)]
    assert not strangers, f"the checkout is on sys.path: {strangers}"
    conf = ROOT / "conf"
    assert found["options"] == sorted(path.relative_to(conf).as_posix() for path in conf.rglob("*.yaml"))


def check_small_build(elsewhere: Elsewhere) -> None:
    """Check a build, its repetition, and the verbs that read files of the wheel."""
    shutil.copytree(ROOT / "tests" / "data" / "cosyvoice2_tiny", elsewhere.here / "model")
    assert "opset17" in elsewhere.cosybuild("--help")
    elsewhere.cosybuild("model_dir=model", *QUICK)
    # Two repetitions: the first writes the certificate, the second uses it.
    for _ in range(2):
        assert "Nothing to do" in elsewhere.cosybuild("model_dir=model", *QUICK)
    (report,) = elsewhere.here.glob("outputs/runs/*/report.json")
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert facts["verified"], report
    assert (report.parent / facts["artifacts"][0]["path"]).is_file()
    assert "streaming" in elsewhere.cosybuild("options", "trt_profile")
    elsewhere.cosybuild("init", "acme")
    assert list(elsewhere.here.rglob("release.yaml"))


def check_main_job(elsewhere: Elsewhere) -> None:
    """Check the README's command with an option, at full size."""
    elsewhere.cosybuild("export=opset20", "trt=none")
    reports = [json.loads(path.read_text("utf-8")) for path in elsewhere.here.glob("outputs/runs/*/report.json")]
    (facts,) = (report for report in reports if report["model"]["random_weights"])
    assert facts["verified"]
    assert facts["config"]["export"]["opset"] == 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also run the main job at full size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary).resolve()
        elsewhere = Elsewhere(directory)
        install(directory, elsewhere)
        check_place(elsewhere, directory / "venv")
        check_small_build(elsewhere)
        if options.full:
            check_main_job(elsewhere)
    print("the wheel works")


if __name__ == "__main__":
    main()
