"""Pages that list the error messages: one for each area of the program, and an overview.

Run ``python -m docs.mkdocs.errors.pages`` to update the table of classes in docs/errors.md.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from docs.mkdocs.errors.code import Code, Module
from docs.mkdocs.errors.messages import Message
from docs.mkdocs.errors.templates import CLOSE, OPEN

PAGE = "errors.md"
FOLDER = "reference/errors"
MARK = "<!-- The site lists all messages here. -->"


@dataclass(frozen=True)
class Area:
    """A part of the program.

    Attributes:
        name: name of its page.
        title: heading of its page.
        parts: folders and files of ``dlrm_pl``. A module belongs to the area with its longest part.
    """

    name: str
    title: str
    parts: tuple[str, ...]


AREAS = (
    Area("commands", "Errors: command line and settings", ("",)),
    Area("files", "Errors: files and outputs", ("files", "documents")),
    Area("columns", "Errors: columns, files of rows, frames", ("columns", "arrays", "data/sources", "data/encoding")),
    Area(
        "preprocessing",
        "Errors: preprocess and synthesize",
        ("data/preprocessing", "data/raw_logs", "data/lookup", "data/synthetic"),
    ),
    Area("datasets", "Errors: datasets, batches, loading", ("data", "batch", "scoring")),
    Area("training", "Errors: model and training", ("model", "training_loop", "callbacks", "kernels/training")),
    Area("processes", "Errors: several processes", ("distributed",)),
    Area(
        "checkpoints",
        "Errors: checkpoints",
        (
            "model/checkpoints",
            "model/load",
            "model/parameter_names",
            "model/torchrec_names",
            "model/training/resuming",
            "model/upstream",
            "model/weights_file",
            "saving",
            "torch_file",
            "torch_folder",
        ),
    ),
    Area("quantization", "Errors: quantization and metrics", ("kernels", "metrics", "quantization", "workflow")),
    Area("artifacts", "Errors: artifacts, export, scoring", ("artifact", "export", "runtime", "serving")),
    Area("server", "Errors: server", ("server",)),
    Area("other_programs", "Errors: migration and benchmark", ("migration", "benchmark")),
)

_STEPS = (
    "Add|Allow|Ask|Build|Call|Certify|Change|Check|Choose|Compare|Convert|Copy|Correct|Cut|Delete|Download|Export|Find|Fit|Free|Get|"
    "Give|Import|Install|Keep|Leave|Let|Load|Look|Lower|Make|Merge|Move|Name|Open|Pass|Preprocess|Put|Quantize|Raise|Read|"
    "Remove|Rename|Repair|Replace|Restart|Run|Save|Say|Score|See|Send|Set|Sort|Split|Start|State|Stop|Switch|Synthesize|"
    "Take|Train|Try|Turn|Unpack|Update|Upgrade|Use|Validate|Verify|Wait|Write"
)
_REMEDY = re.compile(
    rf"(?<=[.!?)] )(?:(?:To|If|For) [^.]*, |Or |Else )?(?:{_STEPS})\b.*|(?<=[;:] )(?:{_STEPS.lower()})\b.*"
)
_BOOST = 0.3
"""Search weight: a word in a heading of another page most likely leads to what the user wants."""
_TEXT_OF_ANOTHER = {"BadLineError", "LimitError"}


def area_of(module: Module) -> Area:
    """Return the area of a module."""
    path = module.path.removeprefix("dlrm_pl/").removesuffix(".py")
    fitting = [
        (len(part), area) for area in AREAS for part in area.parts if f"{path}/".startswith(f"{part}/" if part else "")
    ]
    return max(fitting, key=lambda pair: pair[0])[1]


def error_pages(code: Code, messages: Iterable[Message]) -> dict[str, str]:
    """Return the pages by their paths on the site."""
    by_area: dict[Area, dict[Module, list[Message]]] = {area: {} for area in AREAS}
    for message in messages:
        by_area[area_of(message.module)].setdefault(message.module, []).append(message)
    return {f"{FOLDER}/{area.name}.md": _page(area, code, by_area[area]) for area in AREAS}


def with_areas(page: str, messages: Iterable[Message]) -> str:
    """Return docs/errors.md for the site, with a table of the areas at its mark."""
    counts = dict.fromkeys(AREAS, 0)
    for message in messages:
        counts[area_of(message.module)] += 1
    rows = [
        f"| [{area.title.removeprefix('Errors: ').capitalize()}]({FOLDER}/{area.name}.md) | {count} |"
        for area, count in counts.items()
    ]
    return page.replace(MARK, "\n".join(["| area | messages |", "|---|---|", *rows]))


def table_of_classes(code: Code) -> str:
    """Return the table of the error classes that users may catch, in the order of errors.py."""
    (errors,) = (module for module in code.modules if module.path == "dlrm_pl/errors.py")
    public = [
        name for name in code.error_classes if any(getattr(node, "name", "") == name for node in errors.tree.body)
    ]
    rows = [f"| `{name}` | {_summary(code, name)} |" for name in public if name != "DLRMError"]
    return "\n".join(["| class | meaning |", "|---|---|", *rows])


def remedy_of(text: str) -> str:
    """Return the part at the end of a message that says what to do, or an empty string."""
    match = _REMEDY.search(text)
    return match[0] if match else ""


def _page(area: Area, code: Code, modules: dict[Module, list[Message]]) -> str:
    parts = [
        f"---\nsearch: {{boost: {_BOOST}}}\n---\n\n# {area.title}\n\n"
        "Names in *italics* stand for values. Instructions are in **bold**. "
        f"[Errors](../../{PAGE}) explains the classes and exit statuses.\n"
    ]
    for module, messages in modules.items():
        subject = module.subject.replace("``", "`")
        items = "\n".join(_item(message) for message in dict.fromkeys(messages))
        parts.append(f"## {subject}\n\n`{module.path}`\n\n{items}\n")
    return "\n".join(parts)


def _item(message: Message) -> str:
    """Return a message as a heading, so that the search finds it, with its instruction below."""
    remedy = remedy_of(message.text)
    if message.error == "RequestError":
        label = f"HTTP {message.status}" if message.status else "HTTP"
    elif message.error in _TEXT_OF_ANOTHER:
        label = "part of a message"
    else:
        label = message.error.strip("_") or "ends the command"
    digest = hashlib.sha256(f"{message.module.path} {message.error} {message.text}".encode()).hexdigest()[:8]
    wrong = _html(message.text.removesuffix(remedy).strip() or message.text)
    todo = f" <strong>{_html(remedy)}</strong>" if remedy else ""
    return f'<h3 class="message" id="message-{digest}">{wrong}</h3>\n<p class="message"><code>{label}</code>{todo}</p>'


def _html(text: str) -> str:
    """Escape a template, with the names of values in italics."""
    escaped = html.escape(text, quote=False).replace("`", "&#96;").replace("*", "&#42;").replace("_", "&#95;")
    return escaped.replace(OPEN, "<em>").replace(CLOSE, "</em>").replace("[", "&#91;").replace("]", "&#93;")


def _summary(code: Code, name: str) -> str:
    return " ".join(code.error_classes[name].partition("\n\n")[0].split()).replace("``", "`")


if __name__ == "__main__":
    root = Path(__file__).parents[3]
    page = root / "docs" / PAGE
    table = table_of_classes(Code.of(root))
    page.write_text(re.sub(r"\| class \| meaning \|\n(?:\|.*\n)+", lambda _: f"{table}\n", page.read_text()))
