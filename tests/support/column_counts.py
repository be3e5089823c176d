"""Finds code that hard-codes the number of Criteo's columns, although everything should follow ``Columns``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "dlrm_pl"

# Criteo's numbers of columns, and the numbers of values and bytes in its records. Code must follow the ``Columns`` of
# its data instead; only configs/columns/criteo.yaml states these numbers.
COLUMN_COUNTS = "13|26|39|40|160"

# Text of lines that contain one of these numbers for another reason. Numbers in shifts never count columns.
OTHER_NUMBERS = {
    "benchmark/plot.py": {"40 + 7.3 * len(text)": "units of the picture"},
    "cli/garbage.py": {"saves 13 to 18 %": "a measurement"},
    "data/preprocessing/plan.py": {'"numpy": 100 + 40': "bytes of a value in NumPy's vocabulary"},
    "data/raw_logs/line.py": {"_QUOTED_BYTES = 40": "bytes that a message quotes"},
    "data/splitmix64.py": {"variant 13 of Stafford": "the name of a hash"},
    "data/synthetic/marginals.py": {
        "(26, 1.1)": "values of a table of the logs",
        "(5, 8, 13)": "numbers of tables of the logs",
    },
    "data/synthetic/world.py": {"steps=40": "of a bisection"},
    "server/http/backlog.py": {
        "_SO_ATTACH_FILTER = 26": "an option of Linux",
        "_FLAGS_AT = 13": "a byte of a TCP header",
    },
    "documents/yaml_text.py": {"_MAX_DIGITS = 40": "digits of a number"},
    "kernels/hashing/cpp/hashing.cpp": {"{2, 6, 3, 10, 7, 0, 4, 13,": "an order of words"},
    "kernels/hashing/fallback.py": {"(2, 6, 3, 10, 7, 0, 4, 13,": "an order of words"},
    "files/destinations.py": {"_MOST_LINKS = 40": "links that Linux follows"},
    "kernels/int8/pages.py": {"26 instead of 45 million rows": "a measurement"},
    "quantization/search/strategies/random.py": {"JMLR 13": "the volume of a journal"},
    "torch_file/legacy_format.py": {"[:40]!r}": "characters that a message quotes"},
    "torch_file/stored.py": {"[:40]!r}": "characters that a message quotes"},
    "torch_file/zip_format.py": {"[:40]!r}": "characters that a message quotes"},
}


def column_counts(name: str, text: str) -> list[str]:
    """Return the lines of a Python, C++ or YAML source that hard-code the number of Criteo's columns."""
    if name.endswith((".py", ".pyi")):
        found = [(line, lines) for line, lines in python_numbers(text) if not_elsewhere(name, lines)]
    else:
        # Comments and included names are not code; digits separated by a quote belong together.
        mark, code = ("#", text) if name.endswith(".yaml") else ("//", re.sub(r"#include.*|/\*.*?\*/", "", text))
        lines = [line.split(mark)[0] for line in code.splitlines()]
        pattern = rf"(?<!<< )(?<![\w.'])(?:{COLUMN_COUNTS})(?![\w.'])|\bk(?:Dense|Sparse)\b"
        found = [(n, line) for n, line in enumerate(lines, 1) if re.search(pattern, line) and not_elsewhere(name, line)]
    return [f"{name}:{number}: {line.strip()}" for number, line in sorted(set(found))]


def not_elsewhere(name: str, line: str) -> bool:
    return not any(fragment in line for fragment in OTHER_NUMBERS.get(name, ()))


def python_numbers(source: str) -> list[tuple[int, str]]:
    """Return lines with such numbers: in code, messages, docstrings without examples, and under their old names."""
    nodes, lines, found = list(ast.walk(ast.parse(source))), source.splitlines(), []
    shifts = {id(node.right) for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift)}
    formatted = [node for node in nodes if isinstance(node, ast.FormattedValue)]
    specs = {id(part) for node in formatted for part in ast.walk(node)} - {
        id(part) for node in formatted for part in ast.walk(node.value)
    }
    for node in nodes:
        if isinstance(node, ast.Name | ast.alias):
            used = node.id if isinstance(node, ast.Name) else node.name
            if used in ("NUM_DENSE", "NUM_SPARSE"):
                found.append((node.lineno, lines[node.lineno - 1]))
        elif not isinstance(node, ast.Constant) or id(node) in shifts | specs:
            continue
        elif isinstance(node.value, str):
            text = re.sub(r"^ *>>> .*(?:\n(?! *$).*)*", "", node.value, flags=re.MULTILINE)
            text = re.sub(r"https?://\S+", "", text)
            for line in text.splitlines():
                if re.search(rf"(?<![\w.<>=])(?:{COLUMN_COUNTS})(?![\w.])", line):
                    found.append((node.lineno, line))
        elif isinstance(node.value, int | float) and str(node.value) in COLUMN_COUNTS.split("|"):
            found.append((node.lineno, lines[node.lineno - 1]))
    return found


def sources_with_columns() -> dict[str, str]:
    """Return the text of every Python, C++ and YAML source, except the statement of Criteo's columns."""
    configs = PACKAGE.parent / "configs"
    native = [path for pattern in ("*.cpp", "*.h", "*.pyi") for path in PACKAGE.rglob(pattern)]
    files = {
        str(path.relative_to(PACKAGE)): path
        for path in sorted([*PACKAGE.rglob("*.py"), *native])
        if "configs" not in path.parts
    }
    files |= {f"configs/{path.relative_to(configs)}": path for path in sorted(configs.rglob("*.yaml"))}
    return {name: path.read_text() for name, path in files.items() if name != "configs/columns/criteo.yaml"}
