"""The structure of the repository: no file is too long, and no code is used only by tests."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from cosybuild.cli.nothing_to_do import certificate

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 350
CODE = (".py", ".js", ".sh", ".yaml", ".tmpl", ".css", ".html")
PRODUCT = ("cosybuild", "hydra_plugins")
USERS = ("scripts", "benchmarks", "docs", "examples", "conf", ".ci")
"""Directories outside the product whose code may be the only user of a name; tests are not among them."""

CALLED_BY_OTHERS = re.compile(
    r"__\w+__"
    r"|visit_\w+"  # ast
    r"|on_(job|run|multirun)_(start|end)|on_compose_config"  # Hydra's callbacks
    r"|manipulate_search_path|launch|setup"  # Hydra's plugins
    r"|symbolic"  # torch's exporter
    r"|path_stats"  # the import system
    r"|nonce"  # no caller reads it: it makes each record different
)
"""Names that a framework calls."""


def files(places: Iterable[str], suffixes: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        found = (path for path in (ROOT / place).rglob("*") if path.is_file() and path.suffix in suffixes)
        yield from (path for path in found if "__pycache__" not in path.parts)


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in files((*PRODUCT, *USERS, "tests"), CODE)
        if "data" not in path.parts
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
    # The search covered every directory.
    assert {name.partition("/")[0] for name in lengths} == {*PRODUCT, *USERS, "tests"} - {".ci"}
    assert Path(__file__).relative_to(ROOT).as_posix() in lengths
    assert Path(certificate.__file__).relative_to(ROOT).as_posix() in lengths


def defined(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Return name -> place, of all functions, methods, classes and constants outside functions."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            parts = node.body if isinstance(node, ast.ClassDef) else []
            for each in (node, *parts):
                for name in _names(each):
                    found[name].append(f"{path}:{each.lineno} {name}")
    return found


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name):
                yield part.id


def used(trees: Mapping[str, ast.Module]) -> set[str]:
    """Return every name that is read: variables, attributes, arguments, strings and their last word after a dot."""
    found: set[str] = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value.rpartition(".")[2])
    return found


def imported(trees: Mapping[str, ast.Module]) -> set[tuple[str, str]]:
    """Return (last name of a module, name) of every `from package.module import name` and `module.name`."""
    found = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {(node.module.rpartition(".")[2], name.name) for name in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.add((node.value.id, node.attr))
    return found


def unused(product: Mapping[str, str], others: str) -> list[str]:
    """Return the definitions in `product` (path -> source) that no other code uses.

    Of names that several modules define, each must be used in its own or imported from it.
    """
    trees = {path: ast.parse(text) for path, text in product.items()}
    names, words, imports = used(trees), set(re.findall(r"\w+", others)), imported(trees)
    result = []
    for name, places in defined(trees).items():
        paths = [place.partition(":")[0] for place in places]
        for path, place in zip(paths, places, strict=True):
            alone = len(set(paths)) == 1 or name not in top_level(trees[path])
            module = path.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]
            within = name in (names if alone else used({path: trees[path]})) or (module, name) in imports
            if not within and name not in words and not CALLED_BY_OTHERS.fullmatch(name):
                result.append(place)
    return sorted(result)


def top_level(tree: ast.Module) -> set[str]:
    return {name for node in tree.body for name in _names(node)}


@pytest.fixture(scope="module")
def product() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files(PRODUCT, (".py",))}


@pytest.fixture(scope="module")
def others() -> str:
    paths = [*files(USERS, (*CODE, ".md")), *ROOT.glob("*.md"), ROOT / "pyproject.toml"]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def unfilled(product: Mapping[str, str]) -> list[str]:
    """Return the strings that have a placeholder `{name.attribute}` but are no f-strings; docstrings may have one."""
    found = []
    for path, text in product.items():
        tree = ast.parse(text)
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents
            if is_text and (hole := re.search(r"(?<!\$)\{[a-z_]\w*(\.\w+)+\}", node.value)):
                found.append(f"{path} {hole[0]}")
    return found


def test_every_placeholder_of_a_text_is_filled(product: dict[str, str]) -> None:
    assert unfilled(product) == ["cosybuild/cli/console.py {task.description}"]  # rich fills this one
    assert unfilled({"a.py": 'hint = "see " f"{a.b}" "{bounds.setting}"'}) == ["a.py {bounds.setting}"]


def test_there_is_no_code_that_only_tests_use(product: dict[str, str], others: str) -> None:
    assert unused(product, others) == []


def test_code_that_nothing_uses_is_found(product: dict[str, str], others: str) -> None:
    text = '''
LEFT_OVER_LIMIT = 3

def left_over_function(left_over_argument):
    """Says left_over_function itself."""

class LeftOverClass:
    def left_over_method(self): ...
'''
    found = unused({**product, "a.py": text}, others)
    assert [place.split()[1] for place in found] == [
        "LEFT_OVER_LIMIT",
        "left_over_function",
        "LeftOverClass",
        "left_over_method",
    ]
