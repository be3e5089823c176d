"""Evaluate shell arithmetic, such as ``$((TOTAL / (BATCH * 20)))``, if the text itself gives the numbers."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"(?:^|[\s;])([A-Za-z_]\w*)=[\"']?(\d{1,18})[\"']?(?=[\s;]|$)")
_MOST_NODES = 50
_LARGEST = 1 << 63


def _quotient(left: int, right: int) -> int:
    """Divide as C does: towards 0."""
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.Mod: lambda left, right: left - right * _quotient(left, right),
}


def with_numbers(text: str) -> tuple[str, set[str]]:
    """Replace arithmetic by its value, or, if that is not known, join it to one word.

    Returns:
        The text, and the names of the variables whose numbers were used.

    Example:
        >>> from dlrm_pl.migration.flags.arithmetic import with_numbers
        >>> with_numbers("SIZE=64 ; python x.py --a $((SIZE / (3 - 1))) --b $((X + 1))")
        ('SIZE=64 ; python x.py --a 32 --b $((X+1))', {'SIZE'})
    """
    result, position = [], 0
    used: set[str] = set()
    while (begin := text.find("$((", position)) >= 0 and (end := _end(text, begin)) is not None:
        inner = text[begin + 3 : end - 2]
        numbers = {name: int(number) for name, number in _NUMBER.findall(text[:begin])}
        value = _value(inner, numbers)
        used |= set() if value is None else numbers.keys() & set(re.findall(r"\w+", inner))
        word = "$((" + "".join(inner.split()) + "))" if value is None else str(value)
        result += [text[position:begin], word]
        position = end
    return "".join([*result, text[position:]]), used


def _end(text: str, begin: int) -> int | None:
    """Return where the arithmetic that begins here ends; None if its parentheses are never closed."""
    depth = 0
    for position in range(begin + 1, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1 if text[position - 1] == ")" else None
    return None


def _value(expression: str, numbers: Mapping[str, int]) -> int | None:
    """Compute an expression; None if it has anything but whole numbers, known names, parentheses and + - * / %."""
    plain = re.sub(r"\$\{?(\w+)\}?", r"\1", expression).strip()
    try:
        tree = ast.parse(plain, mode="eval")
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
            return None
        return _computed(tree.body, numbers)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _computed(node: ast.expr, numbers: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        value = node.value
    elif isinstance(node, ast.Name):
        value = numbers[node.id]
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_computed(node.left, numbers), _computed(node.right, numbers))
    else:
        raise ValueError("not arithmetic of whole numbers")
    if abs(value) >= _LARGEST:
        raise ValueError("too large for a shell")
    return value
