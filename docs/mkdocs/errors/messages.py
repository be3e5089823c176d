"""Finds every error message of the package where its error is created."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from docs.mkdocs.errors.code import Code, Function, Module, called_name
from docs.mkdocs.errors.templates import Scope, is_text, literal_of

_ENDING = "_fail"
"""Function of the command line that ends the command with a message."""
_GIVEN = {"kind", "error", "_error"}
"""Names of variables that hold an error class: ``raise kind(f"...")``."""
_TEXTS = {"dlrm_pl/cli/arguments/reasons.py": "ConfigurationError"}
"""Files whose functions return the texts of an error that is created elsewhere."""


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        error: class of the error; empty where the command line ends with a message of its own.
        text: the message, with names in place of its values.
        module: file that creates it.
        status: HTTP status of the server's response; None for other errors.
    """

    error: str
    text: str
    module: Module
    status: int | None = None


@cache
def messages(code: Code) -> list[Message]:
    """Return all messages in the order of the sources."""
    found = [message for module in code.modules for message in _of_module(code, module)]
    return list(dict.fromkeys(message for message in found if _says_something(message.text)))


def _of_module(code: Code, module: Module) -> Iterator[Message]:
    makers = _makers(code)
    for function, call, leaves in module.calls:
        name = called_name(call)
        scope = Scope(code, module, function)
        if name in code.error_classes:
            if function is None or function not in makers.values():
                yield from _made(scope, call, module)
        elif call.args and (name == _ENDING or (leaves and name in _GIVEN)) and is_text(call.args[0]):
            yield Message("" if name == _ENDING else "DLRMError", _clean(scope.text_of(call.args[0])), module)
        elif name in makers:
            maker = makers[name]
            inner = scope.inside(call, maker)
            for around, made, _ in code.module_of(maker).calls:
                if around is maker and called_name(made) in code.error_classes:
                    yield from _made(inner, made, module)
    if error := _TEXTS.get(module.path):
        for function, value in _returns(module):
            yield Message(error, _clean(Scope(code, module, function).text_of(value)), module)


def _made(scope: Scope, call: ast.Call, module: Module) -> Iterator[Message]:
    """Return the message of a call that creates an error."""
    name = called_name(call) or ""
    status = None
    arguments = call.args
    if name == "RequestError" and arguments:
        status = arguments[0].value if isinstance(arguments[0], ast.Constant) else None
        arguments = arguments[1:]
    texts = [_clean(scope.text_of(argument)) for argument in arguments]
    if texts:
        yield Message(name, next(filter(_says_something, texts), texts[0]), module, status)


@cache
def _makers(code: Code) -> dict[str, Function]:
    """Return, by name, the functions that return an error whose text depends on their arguments."""
    return {
        function.name: function
        for module in code.modules
        for function, call, leaves in module.calls
        if leaves
        and called_name(call) in code.error_classes
        and function is not None
        and function.args.args
        and code.only(function.name)
        and _returns_an_error(function)
    }


def _returns_an_error(function: Function) -> bool:
    return function.returns is not None and re.search(r"Error\b|Exception\b", ast.unparse(function.returns)) is not None


def _returns(module: Module) -> Iterator[tuple[Function, ast.expr]]:
    for function in module.nodes:
        if isinstance(function, Function) and ast.unparse(function.returns or ast.Constant(0)) == "str":
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.Constant):
                    yield function, node.value


def _says_something(text: str) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", literal_of(text))) > 1


def _clean(text: str) -> str:
    return " ".join(text.split())
