"""The text of a message with readable names in place of its values."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from docs.mkdocs.errors.code import Code, Function, Module, called_name

OPEN, CLOSE = "⟨", "⟩"
"""Brackets around the name of a value."""

_TRANSPARENT = frozenset(("_shown", "abs", "fspath", "int", "list", "map", "name_of", "repr", "sorted", "tuple"))
_TRANSPARENT |= frozenset(("shown", "str"))
_OF_TEXT = frozenset(("capitalize", "decode", "format", "lower", "removeprefix", "removesuffix", "replace"))
_OF_TEXT |= frozenset(("lstrip", "rstrip", "split", "splitlines", "strip"))
_DEPTH = 3
_MOST_CASES = 4
_MOST_CHARACTERS = 400


@dataclass
class Scope:
    """The scope of an expression.

    Attributes:
        code: the package.
        module: the file.
        function: the enclosing function; None at module level.
        values: templates of the function's parameters, for one call of it.
        depth: number of calls that were entered.
    """

    code: Code
    module: Module
    function: Function | None
    values: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0

    def text_of(self, node: ast.expr) -> str:
        """Return the template of an expression whose value is a string."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(self._part(part) for part in parts)
            case ast.BinOp(left=left, op=ast.Add(), right=right) if is_text(left) or is_text(right):
                return self.text_of(left) + self.text_of(right)
            case ast.IfExp(body=body, orelse=other):
                return _either([self.text_of(body), self.text_of(other)])
            case ast.BoolOp(values=several):
                return _either([self.text_of(one) for one in several])
            case ast.Name(id=name):
                return self._variable(name)
            case ast.Call():
                return self._call(node)
        return placeholder(node)

    def _part(self, part: ast.expr) -> str:
        if isinstance(part, ast.FormattedValue):
            return self.text_of(part.value)
        return self.text_of(part)

    def _variable(self, name: str) -> str:
        """Return the template of a variable that is only assigned strings; otherwise its name."""
        if name in self.values:
            return self.values[name]
        assigned = _assigned(self.function).get(name, []) if self.function else []
        if not assigned and (constant := self.code.constant(self.module, name)) is not None:
            assigned = [constant]
        if assigned and self.depth < _DEPTH:
            inner = replace(self, values={**self.values, name: bracketed(name)}, depth=self.depth + 1)
            texts = [inner.text_of(value) for value in assigned if is_text(value) or inner._returns_text(value)]
            if len(texts) == len(assigned):
                return _either(texts, bracketed(name))
        return bracketed(name)

    def _call(self, call: ast.Call) -> str:
        name = called_name(call)
        if isinstance(call.func, ast.Attribute) and name in _OF_TEXT:
            return self.text_of(call.func.value)
        if isinstance(call.func, ast.Attribute) and name == "join" and call.args:
            return self._joined(call.args[0])
        if name in _TRANSPARENT and call.args:
            return self.text_of(call.args[-1])
        if self._returns_text(call):
            function = self.code.only(name)
            assert function is not None
            inner = self.inside(call, function)
            return _either([inner.text_of(value) for value in _returned(function)], bracketed(function.name))
        return placeholder(call)

    def _joined(self, several: ast.expr) -> str:
        match several:
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return " ".join(self.text_of(item) for item in items)
            case ast.GeneratorExp(elt=one) | ast.ListComp(elt=one) if isinstance(one, ast.JoinedStr):
                return self.text_of(one)
        return placeholder(several)

    def _returns_text(self, node: ast.expr) -> bool:
        """Tell whether an expression calls one of our functions that returns a text."""
        function = self.code.only(called_name(node)) if isinstance(node, ast.Call) else None
        if function is None or self.depth >= _DEPTH or ast.unparse(function.returns or ast.Constant("")) != "str":
            return False
        return any(is_text(value) for value in _returned(function))

    def inside(self, call: ast.Call, function: Function) -> Scope:
        """Return the scope of a function that is called here, with the templates of its arguments."""
        names = [one.arg for one in function.args.posonlyargs + function.args.args]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        given = dict(zip(names, call.args, strict=False)) | {one.arg: one.value for one in call.keywords if one.arg}
        values = {name: self.text_of(value) for name, value in given.items()}
        return Scope(self.code, self.code.module_of(function), function, values, self.depth + 1)


def placeholder(node: ast.expr) -> str:
    """Return a bracketed name that describes the value of an expression."""
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.Name(id=name):
            return bracketed(name)
        case ast.Attribute(value=value, attr=name):
            owner = getattr(value, "attr", getattr(value, "id", "self"))
            return bracketed(name if owner in ("self", "cls") or name != "name" else owner)
        case ast.Call(func=func, args=arguments):
            name = getattr(func, "attr", getattr(func, "id", ""))
            if name == "len" and arguments:
                return bracketed(f"number of {_bare(arguments[0])}")
            if name in _TRANSPARENT and arguments:
                return placeholder(arguments[-1])
            if name == "join" and arguments:
                return placeholder(arguments[0])
            if isinstance(func, ast.Attribute) and name in _OF_TEXT | {"item", "get", "keys", "values", "items"}:
                return placeholder(func.value)
            return bracketed(name)
        case ast.GeneratorExp(generators=loops) | ast.ListComp(generators=loops):
            return placeholder(loops[0].iter)
        case ast.Subscript(value=value):
            return placeholder(value)
        case ast.BinOp(left=left):
            return placeholder(left)
        case ast.Await(value=value) | ast.Starred(value=value):
            return placeholder(value)
    return bracketed("value")


def bracketed(name: str) -> str:
    """Return the name of a variable in brackets, in words."""
    words = name.strip("_").replace("_", " ").removesuffix(" of") or "value"
    return f"{OPEN}{words}{CLOSE}"


def literal_of(template: str) -> str:
    """Return the text of a template without the names of values."""
    return re.sub(f"{OPEN}[^{CLOSE}]*{CLOSE}", " ", template)


def _bare(node: ast.expr) -> str:
    return placeholder(node).strip(OPEN + CLOSE)


def is_text(node: ast.expr) -> bool:
    """Tell whether an expression is a string written in the source."""
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.IfExp(body=body, orelse=other):
            return is_text(body) and is_text(other)
        case ast.BinOp(left=left, op=ast.Add()):
            return is_text(left)
        case ast.Call(func=ast.Attribute(value=value, attr=name)):
            return name in _OF_TEXT and is_text(value)
    return False


@cache
def _assigned(function: Function) -> dict[str, list[ast.expr]]:
    """Return the expressions that a function assigns to each of its variables."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


@cache
def _returned(function: Function) -> list[ast.expr]:
    return [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]


def _either(texts: Sequence[str], name: str = "") -> str:
    """Return the alternative templates of a text, or a name for them if there are many.

    Args:
        texts: templates; empty ones are left out.
        name: name in brackets; empty: all templates are shown, because they are the message itself.
    """
    several = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(several) == 1:
        return next(text for text in texts if text.strip())  # With the spaces around it.
    if name and (len(several) > _MOST_CASES or sum(map(len, several)) > _MOST_CHARACTERS):
        return name
    return " / ".join(several)
