"""Build ONNX files and modules of other people's packages, and write a table of the outcomes.

    python benchmarks/foreign_models.py --environment DIR --prepare   # downloads and installs; about 2 GB
    python benchmarks/foreign_models.py --environment DIR             # builds all; writes docs/foreign-models.md
    python benchmarks/foreign_models.py --environment DIR --only bert # those whose name has this text
    python benchmarks/foreign_models.py --environment DIR --open      # those that are not built yet

Each file is built with `model.path` alone. Each module is declared with `declare`, from the shapes of its inputs, and
then built, in float32 and in fp16. The outcomes are kept in DIR/outcomes.jsonl, and the table has the last one of each
model. The versions of packages are in foreign_models.yaml.

built     the build ended with 0: every comparison passed its gate
refused   the build ended with an error for users, whose sentence is in the table
gate      an output of the built graph missed its gate
crashed   any other end, such as an internal error; the script then ends with 1
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LISTS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
PAGE = ROOT / "docs" / "foreign-models.md"
BEGIN, END = "<!-- made by benchmarks/foreign_models.py -->", "<!-- end of what benchmarks/foreign_models.py made -->"
INTERNAL, GATE = 70, 5
LONGEST = 600
"""Seconds after which a build counts as crashed."""
LONGEST_CELL = 240
"""Characters of a sentence in the table."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one build; `why` is the sentence of an error."""

    package: str
    name: str
    precision: str
    word: str
    seconds: float
    why: str = ""


def prepare(place: Path) -> None:
    """Make the environment, and unpack the ONNX files of the wheels."""
    python = place / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(place / "venv")], check=True)
    held = place / "held.txt"
    held.write_text("torch==2.13.*\n")
    pip = [str(python), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "-c", str(held), "-e", str(ROOT), *LISTS["packages"]], check=True)
    _make_importable(python)
    wheels = place / "wheels"
    subprocess.run([*pip, "download", "-q", "--no-deps", "-d", str(wheels), *LISTS["wheels"]], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        _unpack(wheel, place / "graphs" / wheel.name.partition("-")[0])
    (place / "graphs" / "made").mkdir(parents=True, exist_ok=True)
    made = Path(__file__).with_name("foreign_graphs.py")
    subprocess.run([str(python), str(made), str(place / "graphs" / "made")], check=True)


def _make_importable(python: Path) -> None:
    """Let torchvision and torchaudio be imported beside a torch without CUDA, for which their libraries are not made.

    The modules of this list use none of these libraries.
    """
    site = next((python.parents[1] / "lib").glob("python*/site-packages"))
    for library in (site / "torchaudio" / "lib").glob("*.so"):
        library.unlink()
    extension = site / "torchvision" / "extension.py"
    text, mark = extension.read_text(), "# Names without kernels"
    if mark not in text:
        names = '"(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"'
        lines = ["if not _has_ops():", '    _names = torch.library.Library("torchvision", "DEF")']
        lines += [f'    for _name in ("nms", "qnms"):\n        _names.define(_name + {names})']
        extension.write_text("\n".join([text, mark, *lines, ""]))


def _unpack(wheel: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".onnx"):
                (place / Path(entry.filename).name).write_bytes(archive.read(entry))


def outcomes(place: Path, only: str, kinds: Sequence[str], done: Collection[str]) -> Iterator[Outcome]:
    """Build everything whose name or package contains `only`, without what is done: texts `package name`."""
    work = place / ".".join(["work", *kinds])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    if "graphs" in kinds:
        for package, names in LISTS["graphs"].items():
            for name in names:
                if only in f"{package} {name}" and f"{package} {name}" not in done:
                    path = place / "graphs" / package / f"{name}.onnx"
                    yield from _built(work, package, name, ["model=onnx", f"model.path={_quoted(path)}"])
    for number, words in enumerate(map(str.split, LISTS["modules"] if "modules" in kinds else ())):
        package, name = words[0].split(".")[0], _title(words)
        if only not in f"{package} {name}" or f"{package} {name}" in done:
            continue
        option = f"tried{number}"
        folder = work / "conf" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        declared, seconds = _run(work, ["declare", *words, "--write", str(folder / f"{option}.yaml")])
        if declared.returncode:
            yield _outcome(package, name, "fp32", declared, seconds)
            continue
        yield from _built(work, package, name, ["--config-dir", str(work / "conf"), f"model={option}"])


def _built(work: Path, package: str, name: str, words: Sequence[str]) -> Iterator[Outcome]:
    """Build both graphs with one command; if a step of the lowered graph fails, the float32 graph was built."""
    done, seconds = _run(work, [*words, "trt=none", "precision=fp16"])
    if done.returncode == 0 or re.search(r"^(precision|verify lowered) +failed", done.stdout, re.MULTILINE):
        yield Outcome(package, name, "fp32", "built", seconds)
        yield _outcome(package, name, "fp16", done, seconds)
    else:
        yield _outcome(package, name, "fp32", done, seconds)


def _quoted(path: Path) -> str:
    return f"'{path}'" if re.search(r"[^\w./-]", str(path)) else str(path)


def _title(words: Sequence[str]) -> str:
    named = next((word.partition("=")[2] for word in words if word.startswith("model_name=")), "")
    return words[0].partition(".")[2] + (f" {named}" if named else "")


def _run(work: Path, words: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    command = [str(work.parent / "venv" / "bin" / "python"), "-m", "cosybuild", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=work, env=environment, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, INTERNAL, "", f"internal error: not finished after {LONGEST} s")
    return done, time.monotonic() - begun


def _outcome(
    package: str, name: str, precision: str, done: subprocess.CompletedProcess[str], seconds: float
) -> Outcome:
    if done.returncode == 0:
        return Outcome(package, name, precision, "built", seconds)
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    said = next((line for line in lines if re.match(r"[a-z ]+ error: ", line)), lines[-1] if lines else "")
    text = "\n".join([said, *(line for line in lines if line.startswith("Next:"))])
    crashed = done.returncode in (INTERNAL, 1) or done.returncode < 0 or "Traceback" in done.stderr
    # A model that cannot compute its inputs is refused too; a missed gate names a figure.
    missed = done.returncode == GATE and "cannot compute it" not in text
    return Outcome(package, name, precision, "crashed" if crashed else "gate" if missed else "refused", seconds, text)


def page(found: Mapping[tuple[str, str, str], Outcome]) -> str:
    """Return the tables: one row for each file or module that was tried, and the sentences of those not built."""
    graphs = [(package, name) for package, names in LISTS["graphs"].items() for name in names]
    modules = [(words[0].split(".")[0], _title(words)) for words in map(str.split, LISTS["modules"])]
    lines = []
    for title, items in (("ONNX files", graphs), ("Modules", modules)):
        tried = [item for item in items if (*item, "fp32") in found]
        built = sum(found[(*item, "fp32")].word == "built" for item in tried)
        lowered = sum((*item, "fp16") in found and found[(*item, "fp16")].word == "built" for item in tried)
        lines += [
            f"## {title}",
            "",
            f"{len(tried)} tried: {built} built in float32, {lowered} of them in fp16 too.",
            "",
        ]
        lines += ["| package | name | float32 | fp16 | reason |", "| --- | --- | --- | --- | --- |"]
        for item in tried:
            both = [found.get((*item, precision)) for precision in ("fp32", "fp16")]
            words = ["" if one is None else one.word for one in both]
            why = " ".join(_short(one.why) for one in both if one is not None and one.why)
            lines.append(f"| {item[0]} | {item[1]} | {words[0]} | {words[1]} | {why} |")
        lines.append("")
    return "\n".join(lines)


def _short(why: str) -> str:
    """Return the sentence of an error and its next step as one cell of a table, without directories."""
    said, _, following = why.partition("\nNext:")
    parts = [said, *([f"Next: {following}"] if following else [])]
    return " ".join(_cell(part) for part in parts)


def _cell(text: str) -> str:
    plain = re.sub(r"(/[\w.+-]+)+/", "", " ".join(text.split()))
    cut = plain if len(plain) <= LONGEST_CELL else f"{plain[:LONGEST_CELL]}..."
    return re.sub(r"[|<>*_\[\]`{}]", lambda found: "\\" + found[0], cut)


def _recorded(record: Path) -> dict[tuple[str, str, str], Outcome]:
    """Return the last outcome of each file and module in each precision."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    found: dict[tuple[str, str, str], Outcome] = {}
    for one in (Outcome(**json.loads(line)) for line in lines):
        if one.precision == "fp32":  # its fp16 outcome follows, if there is one
            found.pop((one.package, one.name, "fp16"), None)
        found[one.package, one.name, one.precision] = one
    return found


def main() -> int:
    """Run the trial, print its outcomes, and write the page from the last outcome of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", choices=("graphs", "modules"))
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the page without a build")
    options = parser.parse_args()
    place = options.environment.absolute()
    if options.prepare:
        prepare(place)
        return 0
    kinds = [options.kind] if options.kind else ["graphs", "modules"]
    found: list[Outcome] = []
    known = _recorded(place / "outcomes.jsonl")
    failed = {f"{p} {n}" for (p, n, _), one in known.items() if one.word != "built"}
    done = {f"{p} {n}" for p, n, _ in known} - failed if options.open else set()
    with (place / "outcomes.jsonl").open("a") as record:
        for one in () if options.write else outcomes(place, options.only, kinds, done):
            found.append(one)
            record.write(json.dumps(asdict(one)) + "\n")
            record.flush()
            print(f"{one.word:8} {one.precision:8} {one.seconds:5.1f} s  {one.package} {one.name}", flush=True)
            if one.why:
                print("         " + one.why.replace("\n", "\n         "), flush=True)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        f"{text.split(BEGIN)[0]}{BEGIN}\n\n{page(_recorded(place / 'outcomes.jsonl'))}\n{END}{text.split(END)[1]}",
        encoding="utf-8",
    )
    print(dict(collections.Counter(one.word for one in found)))
    return int(any(one.word == "crashed" for one in found))


if __name__ == "__main__":
    sys.exit(main())
