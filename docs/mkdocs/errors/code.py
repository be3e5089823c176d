"""The package's parsed sources: its modules, functions and error classes."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

_ROOTS = {"DLRMError", "RequestError"}
_INSIDE = {"BadLineError", "LimitError"}
"""Errors whose text becomes part of another error's message."""
_BUILT_IN = {"MemoryError"}
"""Python's own errors that are raised with a text for the user."""


@dataclass(eq=False)
class Module:
    """A file of the package.

    Attributes:
        path: path in the repository.
        tree: its syntax tree.
    """

    path: str
    tree: ast.Module

    @property
    def subject(self) -> str:
        """First paragraph of its docstring, without the period."""
        return " ".join((ast.get_docstring(self.tree) or self.path).partition("\n\n")[0].split()).rstrip(".")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of its syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def calls(self) -> list[tuple[Function | None, ast.Call, bool]]:
        """All calls, with the innermost function around each, and whether the result is returned or raised."""
        found: list[tuple[Function | None, ast.Call, bool]] = []

        def add(node: ast.AST, function: Function | None, leaves: bool) -> None:
            for child in ast.iter_child_nodes(node):
                leaving = isinstance(child, ast.Return | ast.Raise) or (leaves and isinstance(child, ast.expr))
                if isinstance(child, ast.Call):
                    found.append((function, child, leaves))
                add(child, child if isinstance(child, Function) else function, leaving)

        add(self.tree, None, False)
        return found

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """Values assigned to names at module level."""
        return {
            ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target): node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        }

    @cached_property
    def imported(self) -> dict[str, str]:
        """The modules that names are imported from, by name."""
        return {
            alias.asname or alias.name: node.module or ""
            for node in self.nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }


@dataclass(eq=False)
class Code:
    """All modules of the package."""

    modules: list[Module] = field(default_factory=list)

    @classmethod
    @cache
    def of(cls, root: Path) -> Code:
        """Parse the package of a repository, once per process."""
        files = sorted((root / "dlrm_pl").rglob("*.py"))
        return cls([Module(str(path.relative_to(root)), ast.parse(path.read_text())) for path in files])

    @cached_property
    def error_classes(self) -> dict[str, str]:
        """Docstrings of the error classes whose messages a user sees, by name."""
        classes = [node for module in self.modules for node in module.nodes if isinstance(node, ast.ClassDef)]
        names = _ROOTS | _INSIDE
        while more := {
            made.name
            for made in classes
            if {ast.unparse(base) for base in made.bases} & names and made.name not in names
        }:
            names |= more
        described = {made.name: ast.get_docstring(made) or "" for made in classes if made.name in names}
        return described | dict.fromkeys(_BUILT_IN, "There is not enough memory.")

    @cached_property
    def functions(self) -> dict[str, list[Function]]:
        """Functions and methods by name."""
        found: dict[str, list[Function]] = {}
        for function in self._modules:
            found.setdefault(function.name, []).append(function)
        return found

    @cached_property
    def _modules(self) -> dict[Function, Module]:
        return {node: module for module in self.modules for node in module.nodes if isinstance(node, Function)}

    def module_of(self, function: Function) -> Module:
        """Return the file of a function."""
        return self._modules[function]

    @cached_property
    def _by_name(self) -> dict[str, Module]:
        return {module.path.removesuffix(".py").replace("/", "."): module for module in self.modules}

    def constant(self, module: Module, name: str) -> ast.expr | None:
        """Return the value of a name at module level, defined there or imported."""
        while name not in module.constants:
            other = self._by_name.get(module.imported.get(name, ""))
            if other is None or other is module:
                return None
            module = other
        return module.constants[name]

    def only(self, name: str | None) -> Function | None:
        """Return the function with this name if there is exactly one."""
        found = self.functions.get(name or "", [])
        return found[0] if len(found) == 1 else None


def called_name(call: ast.Call) -> str | None:
    """Return the last part of the name that a call calls."""
    return getattr(call.func, "attr", getattr(call.func, "id", None))
