"""Pages of the public names, one for each subject. mkdocstrings fills them with the docstrings."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

PAGE = "python.md"
FOLDER = "reference/python"
SUBJECTS = {
    "data": ("Data", ("columns", "data", "batch")),
    "model": ("Model", ("model",)),
    "training": ("Training", ("trainer", "callbacks")),
    "quantization": ("Quantization", ("quantization", "workflow")),
    "artifacts": ("Artifacts and serving", ("artifact", "serving", "export", "runtime")),
    "metrics": ("Metrics", ("metrics",)),
    "errors": ("Errors", ("errors", "version")),
}
"""Name of each page, its title, and the folders and files of ``dlrm_pl`` whose names it describes."""

_GENERATED = "<!-- Below this line the page is written by"
_OPTIONS = "    options: {heading_level: 2}\n"


@dataclass
class PublicName:
    """A name that users import.

    Attributes:
        path: where it is imported from, for example ``dlrm_pl.quantization.Trial``.
        module: module that defines it, for example ``dlrm_pl.quantization.search.trials.trial``.
        summary: first line of its docstring.
    """

    path: str
    module: str
    summary: str = field(default="")

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition(".")[2]

    @property
    def subject(self) -> str:
        """Name of its page."""
        part = self.module.split(".")[1]
        return next(name for name, (_, parts) in SUBJECTS.items() if part in parts)


def public_names(root: Path) -> list[PublicName]:
    """Return the names of ``dlrm_pl``, followed by the names that only its folders export.

    Args:
        root: folder of the repository.
    """
    found: dict[str, PublicName] = {}
    package = root / "dlrm_pl"
    for stub in sorted(package.rglob("__init__.pyi"), key=lambda path: (len(path.parts), path)):
        folder = ".".join(stub.parent.relative_to(root).parts)
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                module = f"{folder}.{node.module}"
                for alias in node.names:
                    key = f"{module}.{alias.name}"
                    found.setdefault(key, PublicName(f"{folder}.{alias.asname}", module, _summary(root, key)))
    for error in ast.parse((package / "errors.py").read_text()).body:
        if isinstance(error, ast.ClassDef):
            key = f"dlrm_pl.errors.{error.name}"
            found.setdefault(key, PublicName(key, "dlrm_pl.errors", _summary(root, key)))
    return [name for name in found.values() if not name.name.startswith("__")]


def python_pages(names: list[PublicName]) -> dict[str, str]:
    """Return the pages by their paths on the site."""
    pages = {}
    for subject, (title, _) in SUBJECTS.items():
        listed = [name for name in names if name.subject == subject]
        text = "\n".join(f"::: {name.path}\n{_OPTIONS}" for name in listed)
        pages[f"{FOLDER}/{subject}.md"] = f"# {title}\n\n{text}"
    return pages


def with_overview(page: str, names: list[PublicName]) -> str:
    """Return docs/python.md for the site: tables that link to the other pages replace the signatures.

    Args:
        page: its text for GitHub, where those pages do not exist.
        names: the result of ``public_names``.
    """
    return page.partition(_GENERATED)[0] + _overview(names)


def _overview(names: list[PublicName]) -> str:
    parts = []
    for subject, (title, _) in SUBJECTS.items():
        rows = [
            f"| [`{name.path}`]({FOLDER}/{subject}.md#{name.path}) | {name.summary} |"
            for name in names
            if name.subject == subject
        ]
        parts.append("\n".join([f"## {title}", "", "| name | what it is |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _summary(root: Path, key: str) -> str:
    """Return the first line of the docstring of a class or function."""
    module, _, name = key.rpartition(".")
    path = root / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value = ast.unparse(node.value)
            return f"Earlier name of `{value}`." if value.isidentifier() else f"Type: `{value}`.".replace("|", "\\|")
    return ""
