"""Docstrings of the public names: examples run, and first lines stand alone."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "dlrm_pl"
ROOMS = sorted(".".join(stub.parent.relative_to(PACKAGE.parent).parts) for stub in PACKAGE.rglob("__init__.pyi"))

WITHOUT_EXAMPLE: set[str] = set()
"""Public names that still lack an ``Example:``. Add no names; remove one once it has an example."""

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public() -> dict[str, Any]:
    """Return every exported class and function by its full name, from ``dlrm_pl`` and its main folders."""
    values = {}
    for room in ROOMS:
        module = import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                values[f"{value.__module__}.{value.__qualname__}"] = value
    return dict(sorted(values.items()))


PUBLIC = public()


def own_members(value: Any) -> Iterator[tuple[str, Any]]:
    """Return the public methods and properties that a class of ours defines or inherits from another one of ours."""
    if inspect.isclass(value):
        for name, member in inspect.getmembers(value):
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            ours = inspect.isfunction(function) and function.__module__.startswith("dlrm_pl")
            if ours and not name.startswith("_") and function.__name__ != "<lambda>":
                yield name, member


def examples(name: str) -> list[doctest.DocTest]:
    value = PUBLIC[name]
    objects = [(name, value), *((f"{name}.{member}", got) for member, got in own_members(value))]
    parser = doctest.DocTestParser()
    tests = [parser.get_doctest(inspect.getdoc(got) or "", {}, label, label, 0) for label, got in objects]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("name", [name for name in PUBLIC if examples(name)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_run(name: str, quickstart: Path) -> None:
    """Runs in a folder with the files of the quick start, which examples may use and change."""
    failures: list[str] = []
    for test in examples(name):
        assert not any(doctest.SKIP in example.options for example in test.examples), f"{name}: nothing is skipped"
        doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_every_public_name_has_an_example() -> None:
    lacking = {name for name in PUBLIC if not re.search(r"^Examples?:$", inspect.getdoc(PUBLIC[name]) or "", re.M)}
    assert lacking - WITHOUT_EXAMPLE == set(), "these names need an `Example:` in their docstrings"
    assert WITHOUT_EXAMPLE - lacking == set(), "these have one, or are gone: take them out of WITHOUT_EXAMPLE"


@pytest.mark.parametrize("name", PUBLIC)
def test_first_lines_stand_alone(name: str) -> None:
    for label, value in [(name, PUBLIC[name]), *own_members(PUBLIC[name])]:
        line = (inspect.getdoc(value) or "").partition("\n")[0]
        assert line.endswith("."), f"{label}: {line!r} is no sentence"
        assert not re.match(r"(Of|Its|The same|What its)\b", line), f"{label}: {line!r} needs the signature"
        assert len(line.split()) > 1, f"{label}: {line!r} is one word"
