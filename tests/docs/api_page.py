"""The generated part of docs/python.md: every public name with its signature, its first line and its example.

Run ``python -m tests.docs.api_page`` to update the page after changing a signature or a docstring.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import dlrm_pl
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "python.md"
MARKER = "<!-- Below this line the page is written by `python -m tests.docs.api_page`. -->\n"
_SUBJECTS = {
    "synthesize": "Data",
    "columns": "Data",
    "data": "Data",
    "batch": "Data",
    "model": "Model",
    "trainer": "Training",
    "callbacks": "Training",
    "quantization": "Quantization",
    "artifact": "Artifacts and serving",
    "serving": "Artifacts and serving",
    "metrics": "Metrics",
    "errors": "Errors",
}
"""Section title for the names of each folder or file, in the order of the page."""
_WIDTH = 100


def generated() -> str:
    """Return all public names, by subject and name."""
    sections: dict[str, list[str]] = {title: [] for title in _SUBJECTS.values()}
    for name in sorted(dlrm_pl.__all__, key=str.lower):
        if not name.startswith("__"):
            value = getattr(dlrm_pl, name)
            sections[_SUBJECTS.get(value.__module__.split(".")[1], "Quantization")].append(_entry(name, value))
    return "\n".join(f"## {title}\n\n{''.join(entries)}" for title, entries in sections.items() if entries)


def _entry(name: str, value: Any) -> str:
    if callable(value) and value.__name__ != name:
        return f"### {name}\n\nEarlier name of `{value.__name__}`.\n\n"
    text = f"### {name}\n\n{summary_of(value)}\n\n```text\n{_signature(name, value)}\n```\n\n"
    example = example_of(value)
    return text + (f"```pycon\n{example}\n```\n\n" if example else "")


def summary_of(value: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split()).replace("``", "`")


def example_of(value: Any) -> str:
    """Return the lines of a docstring's ``Example:``, or an empty string."""
    match = re.search(r"^Examples?:\n((?: {4}.*\n?|\n)+)", inspect.getdoc(value) or "", re.MULTILINE)
    return inspect.cleandoc(match[1]) if match else ""


def _signature(name: str, value: Any) -> str:
    if not callable(value):
        return f"{name} = {value!r}"
    if inspect.isclass(value) and issubclass(value, Exception):
        return f"class {name}({value.__bases__[0].__name__})"
    parameters = [_parameter(p) for p in inspect.signature(value).parameters.values()]
    if not inspect.isclass(value):
        returned = _annotation(inspect.signature(value).return_annotation)
        end = f") -> {returned}" if returned else ")"
    else:
        name, end = f"class {name}", ")"
    kinds = [p.kind for p in inspect.signature(value).parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    line = f"{name}({', '.join(parameters)}{end}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), end])


def _parameter(parameter: inspect.Parameter) -> str:
    text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    if annotation := _annotation(parameter.annotation):
        text += f": {annotation}"
    if parameter.default is not parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"ForwardRef\('(.*?)'\)", r"\1", text)


def _default(default: Any) -> str:
    if dataclasses.is_dataclass(default) or callable(default) or " at 0x" in repr(default):
        return "..."
    return "..." if "<factory>" in repr(default) else repr(default)


if __name__ == "__main__":
    kept = PAGE.read_text().partition(MARKER)[0]
    PAGE.write_text(f"{kept}{MARKER}\n{generated().rstrip()}\n")
