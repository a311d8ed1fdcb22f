"""HyperPyYAML as data: no tag is executed, references are resolved, and no document takes endless memory or time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ModelDirectoryError
from cosybuild.models.directory.hyperpyyaml import MAX_BYTES, Node, read_hyperpyyaml


def read(tmp_path: Path, text: str | bytes) -> dict[str, Any]:
    path = tmp_path / "cosyvoice2.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_hyperpyyaml(path)


@pytest.mark.attack("execute", "nothing is imported")
def test_tags_become_data(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        """
seed: !apply:random.seed [1986]
model: !new:torch.nn.Linear
    in_features: 3
bare: !new:torch.nn.Identity
hook: !name:os.system
    command: touch ran
pair: !tuple [1, 2]
other: !python/object/apply:os.system ["touch ran"]
other2: !!python/object/apply:os.system ["touch ran"]
included: !include:/etc/passwd
""",
    )
    assert document["seed"] == Node("apply", "random.seed", [1986])
    assert document["model"] == Node("new", "torch.nn.Linear", {"in_features": 3})
    assert document["bare"] == Node("new", "torch.nn.Identity", None)
    assert document["hook"] == Node("name", "os.system", {"command": "touch ran"})
    assert document["pair"] == (1, 2)
    assert document["included"] == Node("include", "/etc/passwd", None)
    assert all(isinstance(document[name], Node) for name in ("other", "other2"))
    assert not Path("ran").exists()


def test_references_are_resolved(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        """
later: !ref <nested[inner][1]>
nested:
    inner: [4, !ref <chunk> * 2]
    again: !ref <part[width]>
chunk: 25
part: !new:some.Class
    width: !ref <chunk> - 5
whole: !ref <part>
rate: !ref (<chunk> + 5) / 4
""",
    )
    assert document["later"] == 50
    assert document["nested"] == {"inner": [4, 50], "again": 20}
    assert document["whole"] == Node("new", "some.Class", {"width": 20})
    assert document["rate"] == 7.5


def test_merges_are_resolved(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        """
first: &first {a: 1, b: 1}
second: &second {b: 2, c: 2}
changed: &changed {<<: *first, b: 3}
both: {<<: [*first, *second], d: 4}
again: {c: 5, <<: *changed}
tagged: !new:some.Class {<<: *changed, a: 6}
""",
    )
    assert document["changed"] == {"a": 1, "b": 3}
    assert document["both"] == {"a": 1, "b": 1, "c": 2, "d": 4}
    assert document["again"] == {"a": 1, "b": 3, "c": 5}
    assert document["tagged"] == Node("new", "some.Class", {"a": 6, "b": 3})


@pytest.mark.attack("fill or wait", "the size stays bounded")
@pytest.mark.timeout(60)
def test_merges_of_merges_do_not_multiply(tmp_path: Path) -> None:
    assert read(tmp_path, MERGE_BOMB)["m11"] == {"a": 1}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
)
REFERENCE_BOMB = "r0: [1, 1]\n" + "\n".join(f"r{i}: [!ref <r{i - 1}>, !ref <r{i - 1}>]" for i in range(1, 40))
MERGE_BOMB = "m0: &m0 {a: 1}\n" + "\n".join(
    f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)
)
WIDE_MERGE = f"m: &m {{{', '.join(f'k{i}: 1' for i in range(1000))}}}\nall: {{<<: [{', '.join(['*m'] * 200)}]}}\n"

REFUSED = {
    "circle": ("a: !ref <b>\nb: !ref <c> + 1\nc: !ref <a>\n", "circle: "),
    "self": ("a: !ref <a>\n", "a -> a"),
    "nowhere": ("a: !ref <missing[key]>\n", "'missing', which does not exist"),
    "too far": ("a: [1]\nb: !ref <a[3]>\n", "'3', which does not exist"),
    "no arithmetic": ("a: x\nb: !ref <a> * 2\n", "line 2: !ref <a> * 2: <a> is no number"),
    "power": ("a: !ref 9 ** 9 ** 9\n", "out of bounds"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", "'a' occurs twice"),
    "nested duplicate": ("a: {x: 1, x: 2}\n", "'x' occurs twice"),
    "tagged duplicate": ("a: !new:b.C\n    x: 1\n    x: 2\n", "'x' occurs twice"),
    "bomb": (BOMB, "expands to more than"),
    "reference bomb": (REFERENCE_BOMB, "expands to more than"),
    "wide merge": (WIDE_MERGE, "merges more than"),
    "merged into itself": ("a: &a {<<: *a}\n", "merged into itself"),
    "merge of a list": ("a: &a [1]\nb: {<<: [*a]}\n", "'<<' refers to a value that is not"),
    "own child": ("a: &a [*a]\n", "contains itself"),
    "chain": ("\n".join(f"r{i}: !ref <r{i + 1}>" for i in range(2000)) + "\nr2000: 1\n", "chain of references"),
    "many keys": ("\n".join(f"k{i}: 1" for i in range(20_000)) + "\nk0: 2\n", "'k0' occurs twice"),
    "depth": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    "not utf-8": (b"a: \xff\xfe\n", "is not UTF-8 text (byte 3)"),
    "truncated": ("flow: !new:a.B\n    x: [1, 2\n", "not readable as YAML"),
    "control character": ("a: \x00\n", "not readable as YAML"),
    "list": ("- 1\n- 2\n", "holds a list"),
    "text": ("just text", "holds a str"),
    "empty": ("", "holds a NoneType"),
    "long number": ("a: " + "9" * 6000, "cosyvoice2.yaml"),
    "no date": ("a: 2024-13-45\n", "has a value that cannot be read"),
    "bool": ("a: 1\nb: !!bool x\n", "cannot be read as bool, line 2"),
    "int": ('a: 1\nb: !!int ""\n', "cannot be read as int, line 2"),
    "timestamp": ("a: [1,\n !!timestamp x]\n", "cannot be read as timestamp, line 2"),
    "long hex": (f"a: 1\nb: 0x{'F' * 6000}\n", "more than 63 bits, line 2"),
    "long decimal": (f"a: 1\nb: {'9' * 400}\n", "more than 63 bits, line 2"),
    "node as key": ("a: 1\n!new:a.b {x: 1}: 2\n", "a name is expected before the colon, line 2"),
    "reference as key": ("a: 1\nb: {!ref <a>: 2}\n", "a name is expected before the colon, line 2"),
    "number and text as key": ("a: {1: x, '1': y}\n", "'1' occurs twice"),
    "too big": ("a: " + "x" * MAX_BYTES, "a model's yaml has a few thousand"),
    "list as key": ("? [1, 2]\n: 3\n", "not readable as YAML"),
}


@pytest.mark.attack("malformed", "the yaml is refused")
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.timeout(60)
def test_invalid_documents_are_refused(tmp_path: Path, case: str) -> None:
    text, expected = REFUSED[case]
    with pytest.raises(ModelDirectoryError) as caught:
        read(tmp_path, text)
    assert expected in caught.value.message
    assert str(tmp_path / "cosyvoice2.yaml") in caught.value.message
    assert caught.value.hint is not None


def test_numbers_and_null_before_a_colon_are_names(tmp_path: Path) -> None:
    assert read(tmp_path, "a: {1: x, ~: y, b: z}\n") == {"a": {"1": "x", "None": "y", "b": "z"}}


@pytest.mark.attack("execute", "nothing is imported")
def test_reading_imports_no_module_that_the_document_names(tmp_path: Path) -> None:
    path = tmp_path / "cosyvoice2.yaml"
    path.write_text("a: !new:this_module_would_print.Thing\nb: !name:torch.nn.Linear\nc: !apply:antigravity.fly []\n")
    code = (
        "import sys; from pathlib import Path; from cosybuild.models.directory.hyperpyyaml import read_hyperpyyaml\n"
        f"read_hyperpyyaml(Path({str(path)!r}))\n"
        "print([name for name in ('torch', 'antigravity', 'numpy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
