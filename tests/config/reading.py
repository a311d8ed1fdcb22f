"""The settings that the source reads: attributes of expressions whose type follows from annotations.

Not a type checker: it knows annotations, assignments, loops and calls by name, and takes a container for its
elements. That is enough for code in which every function is annotated, and a name as common as `path` or `seed`
counts only where it is read off the settings class that has it.
"""

from __future__ import annotations

import ast
import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping

Types = frozenset[str]
NOTHING: Types = frozenset()


def settings_read(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return (class, attribute) of every attribute that is read in the sources (path -> text).

    The method `settings` of a stage is not counted, because it only copies settings into the key.
    """
    trees = {path: ast.parse(text) for path, text in sources.items()}
    known = _Known(list(trees.values()))
    read: set[tuple[str, str]] = set()
    for path, tree in trees.items():
        # Most modules get no settings under any name.
        for function, owner in _functions(tree) if "ettings" in sources[path] else ():
            if not (owner and function.name == "settings"):
                read |= _Reader(known, tree, function, owner).read()
    return read


@dataclasses.dataclass(frozen=True)
class _Known:
    """The types of all modules by name: attributes and methods of classes, and results of functions."""

    attributes: Mapping[str, Mapping[str, Types]]
    returns: Mapping[str, Types]

    def __init__(self, trees: list[ast.Module]) -> None:
        attributes: dict[str, dict[str, Types]] = defaultdict(dict)
        returns: dict[str, Types] = {}
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    for part in node.body:
                        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                            attributes[node.name][part.target.id] = _named(part.annotation)
                        elif isinstance(part, ast.FunctionDef):
                            attributes[node.name][part.name] = _named(part.returns)
                    returns[node.name] = frozenset([node.name])
                elif isinstance(node, ast.FunctionDef):
                    returns[node.name] = returns.get(node.name, NOTHING) | _named(node.returns)
        object.__setattr__(self, "attributes", attributes)
        object.__setattr__(self, "returns", returns)


class _Reader(ast.NodeVisitor):
    """The collector of the attributes that one function reads."""

    def __init__(self, known: _Known, module: ast.Module, function: ast.FunctionDef, owner: str) -> None:
        self._known = known
        self._function = function
        self._found: set[tuple[str, str]] = set()
        self._names: dict[str, Types] = {"self": frozenset([owner])} if owner else {}
        self._words = {
            target.id: _strings(node.value)
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def read(self) -> set[tuple[str, str]]:
        # A name's type may follow from a later assignment, as in a loop.
        for _ in range(2):
            self.visit(self._function)
        return self._found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if argument.annotation is not None:
                self._names[argument.arg] = _named(argument.annotation)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._names[node.target.id] = _named(node.annotation)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._bind(node.target, node.iter)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self._found |= {(owner, node.attr) for owner in self._type(node.value)}
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Handle `getattr(verify, name)`, where `name` takes the values of literals in the module."""
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            for word in _strings(node.args[1]) or self._words.get(ast.unparse(node.args[1]), ()):
                self._found |= {(owner, word) for owner in self._type(node.args[0])}
        self.generic_visit(node)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = self._names.get(target.id, NOTHING) | self._type(value)
            self._words[target.id] = _strings(value) or self._words.get(ast.unparse(value), ())
        elif isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
            for index, part in enumerate(target.elts):
                self._bind(part, value if values is None else values[index])

    def _type(self, node: ast.expr) -> Types:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, NOTHING)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._returned(node)
        parts = {
            ast.BoolOp: lambda: node.values,
            ast.IfExp: lambda: [node.body, node.orelse],
            ast.Subscript: lambda: [node.value],
            ast.Starred: lambda: [node.value],
            ast.NamedExpr: lambda: [node.value],
            ast.Tuple: lambda: node.elts,
            ast.List: lambda: node.elts,
        }.get(type(node), list)()
        return NOTHING.union(*map(self._type, parts))

    def _attribute(self, node: ast.Attribute) -> Types:
        owners = self._type(node.value)
        return NOTHING.union(*(self._known.attributes.get(owner, {}).get(node.attr, NOTHING) for owner in owners))

    def _returned(self, node: ast.Call) -> Types:
        if isinstance(node.func, ast.Attribute):
            # items(), values() and similar calls give the elements.
            return self._attribute(node.func) or self._type(node.func.value)
        if not isinstance(node.func, ast.Name):
            return NOTHING
        if node.func.id in self._known.returns:
            return self._known.returns[node.func.id]
        return NOTHING.union(*map(self._type, node.args))


def _functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield the outermost functions with their class; statements of a module read no setting."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node, ""
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield part, node.name


def _named(annotation: ast.expr | None) -> Types:
    """Yield every class that an annotation names, also inside quotes and containers."""
    if annotation is None:
        return NOTHING
    found: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return frozenset(found)


def _strings(node: ast.expr) -> tuple[str, ...]:
    """Return the text of a literal string, or the texts of a tuple of them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,)
    if isinstance(node, ast.Tuple | ast.List) and node.elts:
        words = [part.value for part in node.elts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return tuple(words) if len(words) == len(node.elts) else ()
    return ()
