"""Read HyperPyYAML as data. References and arithmetic are resolved; no tag is executed and nothing is imported.

    !new:a.B, !name:a.b, !apply:a.b    become `Node`s with the dotted name and the arguments
    !ref <a>, !ref <a[b]> * 2          become the value, or the result of the arithmetic
    !tuple                             becomes a tuple

The size of a document is limited (`MAX_BYTES`, `MAX_VALUES`), so that a small file cannot fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cosybuild.errors import ModelDirectoryError
from cosybuild.models.directory.arithmetic import ArithmeticProblem, evaluate
from cosybuild.system.files import read_regular

MAX_BYTES = 2**20
"""The largest permitted size of a file."""

MAX_VALUES = 100_000
"""The largest permitted number of values, after merges are done and references are resolved."""

MAX_NUMBER = 2**63
"""The limit for the absolute value of integers. Very large integers can neither become floats nor be printed."""

_REFERENCE = re.compile(r"<([A-Za-z_][^<>]*)>")


@dataclass(frozen=True)
class Node:
    """The content of a `!new:`, `!name:` or `!apply:` tag.

    Attributes:
        tag: `new`, `name`, `apply`, `module` or `include`; `unknown` for any other tag.
        target: the dotted name behind the tag; it is never imported.
        arguments: the mapping or sequence below the tag; None if there is none.
    """

    tag: str
    target: str
    arguments: Any = None


@dataclass(frozen=True)
class _Reference:
    expression: str
    line: int


class _Loader(yaml.SafeLoader):
    """A SafeLoader of PyYAML that reads HyperPyYAML's tags as data."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flattened: dict[yaml.MappingNode, bool] = {}  # False while the mapping's merges are in progress
        self._merged = 0

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a YAML node.

        Raises:
            ConstructorError: a scalar does not match its tag, e.g. `!!bool x`, or is an integer of more than 63 bits.
        """
        try:
            value = super().construct_object(node, deep)
        # PyYAML's constructors raise Python's built-in errors for such scalars.
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            raise _not_constructed(f"it has a value that cannot be read as {_kind(node)}", node) from error
        if isinstance(value, int) and abs(value) >= MAX_NUMBER:
            raise _not_constructed("it has a whole number of more than 63 bits", node)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace each merge key `<<` of a mapping by the pairs of the mappings that it refers to.

        A key of the mapping itself overrides a merged key, and an earlier merged mapping overrides a later one.
        PyYAML's own method is not used, because its patch releases differ in the order of overriding and in the number
        of pairs that nested merges create.

        Raises:
            ConstructorError: a key is not a plain scalar or occurs twice, `<<` does not refer to a mapping, or the
                merges create more than `MAX_VALUES` pairs.
        """
        if node in self._flattened:
            return
        self._flattened[node] = False
        own: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.tag.startswith("tag:yaml.org,2002:"):
                raise _not_constructed("a name is expected before the colon", key)
            if key.tag == "tag:yaml.org,2002:merge":
                for pair in self._pairs_merged(value):
                    merged.setdefault(pair[0].value, pair)
            elif key.value in own:
                raise _not_constructed(f"the key '{key.value}' occurs twice", key)
            else:
                own[key.value] = (key, value)
        node.value = list({**merged, **own}.values())
        self._flattened[node] = True

    def _pairs_merged(self, value: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(mapping, yaml.MappingNode):
                raise _not_constructed("'<<' refers to a value that is not a mapping", mapping)
            self.flatten_mapping(mapping)
            if not self._flattened[mapping]:
                raise _not_constructed("a mapping is merged into itself", mapping)
            self._merged += 1 + len(mapping.value)
            if self._merged > MAX_VALUES:
                raise _not_constructed(f"'<<' merges more than {MAX_VALUES:,} values", mapping)
            yield from mapping.value


def _kind(node: yaml.Node) -> str:
    """Return the name of the node's tag without its prefix, e.g. `bool`."""
    return node.tag.rpartition(":")[2]


def _not_constructed(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node, tag: str) -> Node:
    return Node(tag, suffix, _plain(loader, node))


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) or None  # type: ignore[arg-type]  # yaml accepts any node


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    return _Reference(str(loader.construct_scalar(node)), node.start_mark.line + 1)  # type: ignore[arg-type]  # yaml accepts any node


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> tuple[Any, ...]:
    return tuple(_plain(loader, node) or ())


def _unknown(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Node:
    # Tags that are not HyperPyYAML's (e.g. python/object) are also read as data.
    return Node("unknown", suffix, _plain(loader, node))


for _name in ("new", "name", "apply", "module", "include"):
    _Loader.add_multi_constructor(
        f"!{_name}:", lambda loader, suffix, node, tag=_name: _tagged(loader, suffix, node, tag)
    )
for _name in ("ref", "copy"):
    _Loader.add_constructor(f"!{_name}", _reference)
_Loader.add_constructor("!tuple", _tuple)
_Loader.add_constructor("!PLACEHOLDER", lambda loader, node: None)
_Loader.add_multi_constructor("!", _unknown)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _unknown)


def read_hyperpyyaml(path: Path) -> dict[str, Any]:
    """Return the content of a HyperPyYAML file as plain data and `Node`s, with references resolved.

    Raises:
        ModelDirectoryError: the file cannot be read, is too large or is not a mapping, or a reference has no target or
            is circular.
    """
    text = _text(path)
    try:
        document = yaml.load(text, _Loader)  # a SafeLoader that builds data only
    except yaml.YAMLError as error:
        raise _bad(path, f"is not readable as YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise _bad(path, "is nested too deeply") from error
    if not isinstance(document, dict):
        raise _bad(path, f"holds a {type(document).__name__}, but a mapping of names is expected")
    try:
        return _Resolver(path, document).resolve()
    except RecursionError as error:
        raise _bad(path, "holds a value that contains itself, or too long a chain of references") from error


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, the arguments of a `Node` if they are one, else an empty mapping."""
    if isinstance(value, Node):
        value = value.arguments
    return value if isinstance(value, Mapping) else {}


def _text(path: Path) -> str:
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _bad(path, f"cannot be read: {error}; a model's yaml has a few thousand bytes") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, data, error.start) from error


def _not_utf8(path: Path, data: bytes, start: int) -> ModelDirectoryError:
    """Return the error for a file that is not UTF-8. It names another encoding in which the file can be decoded."""
    encodings = ["UTF-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["GBK"]
    for encoding in encodings:
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return ModelDirectoryError(
            f"{path} is not UTF-8 text (byte {start}), but can be read as {encoding}.",
            hint=f"Next: convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8.yaml && mv utf8.yaml {path.name}.",
        )
    return _bad(path, f"is not UTF-8 text (byte {start})")


class _Resolver:
    """Replaces the references in a document by their values. If references form a circle, it raises an error."""

    def __init__(self, path: Path, document: dict[Any, Any]) -> None:
        self._path = path
        self._document = document
        self._under_way: list[str] = []
        self._values = 0

    def resolve(self) -> dict[str, Any]:
        resolved: dict[str, Any] = self._resolved(self._document)
        return resolved

    def _resolved(self, value: Any) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:  # aliases and references can multiply the values
            raise _bad(self._path, f"expands to more than {MAX_VALUES:,} values")
        if isinstance(value, _Reference):
            return self._referred(value)
        if isinstance(value, Node):
            return Node(value.tag, value.target, self._resolved(value.arguments))
        if isinstance(value, Mapping):
            # A number or null before a colon is also a name.
            return {str(key): self._resolved(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._resolved(inner) for inner in value)
        return value

    def _referred(self, reference: _Reference) -> Any:
        expression = reference.expression.strip()
        whole = _REFERENCE.fullmatch(expression)
        if whole is not None:
            return self._lookup(whole[1], reference.line)
        try:
            return evaluate(expression, lambda name: self._lookup(name, reference.line))
        except ArithmeticProblem as problem:
            raise _bad(self._path, f"line {reference.line}: !ref {expression}: {problem}") from problem

    def _lookup(self, name: str, line: int) -> Any:
        if name in self._under_way:
            circle = " -> ".join([*self._under_way[self._under_way.index(name) :], name])
            raise _bad(self._path, f"line {line}: the references form a circle: {circle}")
        self._under_way.append(name)
        value: Any = self._document
        for key in re.findall(r"[^\[\]]+", name):
            if isinstance(value, Node):
                value = value.arguments
            if isinstance(value, _Reference):
                value = self._referred(value)
            if isinstance(value, list | tuple) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, Mapping) and key in value:
                value = value[key]
            else:
                raise _bad(self._path, f"line {line}: !ref <{name}> refers to '{key}', which does not exist")
        resolved = self._resolved(value)
        self._under_way.pop()
        return resolved


def _bad(path: Path, what: str) -> ModelDirectoryError:
    return ModelDirectoryError(
        f"{path} {what}.", hint="Next: download the file again, or compare it with that of the published model."
    )


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem}{f', line {mark.line + 1}' if mark else ''}"
