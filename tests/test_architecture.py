"""Imports go one way, and a few libraries are touched in one place alone; read from the sources with ast."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

PACKAGE = Path(__file__).parents[1] / "dlrm_pl"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file imports from its own part or from one above. `runtime` stands above `quantization`, which lowers into it.
RANKS = [
    {"errors", "batch", "program"},
    {"locks"},
    {"places"},
    {"replacement"},
    {"atomic", "mapped", "documents", "watched"},
    {"metrics"},
    {"kernels", "torch_file"},
    {"data", "model"},
    {"runtime"},
    {"quantization"},
    {"artifact"},
    {"serving", "benchmark", "distributed"},
    {"callbacks"},
    {"trainer"},
    {"inspection", "usage", "migration", "config_files"},
    {"commands", "lightning_cli"},
    {"cli"},
    {"entry"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}

ONLY_IN = {
    "torch.ao": ["quantization/torch_ao.py"],
    "pytorch_lightning": [
        *("data/datamodule.py", "model/lightning_module.py", "trainer.py", "lightning_cli.py"),
        *("callbacks/quantization.py", "callbacks/mlperf_logging.py", "callbacks/trial_scalars.py"),
        "callbacks/monitors.py",
        "callbacks/earlier_checkpoints.py",
    ],
    "lightning": [],
    "optuna": ["quantization/strategies/optuna_sampler.py"],
    "matplotlib": ["artifact/report/figures.py", "artifact/report/svg.py"],
    "mlperf_loadgen": ["benchmark/mlperf/harness.py"],
    "mlperf_logging": ["callbacks/mlperf_logging.py"],
}


def part_of(path: Path) -> str:
    """``data/dataset.py`` -> ``data``; ``cli.py`` -> ``cli``."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(source: str) -> list[str]:
    """Absolute names of all imports, wherever they stand."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def violations(part: str, source: str) -> list[str]:
    found = []
    for name in imported(source):
        pieces = name.split(".")
        if pieces[0] != "dlrm_pl" or len(pieces) < 2 or pieces[1] not in RANK:
            continue
        target = pieces[1]
        if target != part and RANK[target] >= RANK[part]:
            found.append(f"{part} imports {name}")
    return found


def test_there_are_sources_to_read() -> None:
    assert len(FILES) > 40
    assert {part_of(path) for path in FILES} - {"__init__"} <= set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_from_left_to_right(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        pytest.skip("the public names come from everywhere, and only when asked for")
    assert violations(part_of(path), path.read_text()) == []


def test_an_import_against_the_order_is_found() -> None:
    assert violations("data", "from dlrm_pl.model.dlrm import DLRM") == ["data imports dlrm_pl.model.dlrm.DLRM"]
    assert violations("metrics", "def f():\n    import dlrm_pl.trainer") == ["metrics imports dlrm_pl.trainer"]
    assert violations("artifact", "from dlrm_pl.errors import ArtifactError") == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_touched_only_where_it_belongs(library: str) -> None:
    users = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name == library or name.startswith(f"{library}.") for name in imported(path.read_text()))
    ]
    assert sorted(users) == sorted(ONLY_IN[library])


def test_library_code_never_prints_and_never_exits() -> None:
    for path in FILES:
        if part_of(path) in ("cli", "entry", "commands"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "sys.exit", "exit"), f"{path}:{node.lineno} calls {called}"


def test_json_and_yaml_are_read_with_limits_alone() -> None:
    for path in FILES:
        if part_of(path) == "documents":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node)
                # A value as it will be read back is no file of anybody's.
                if not called.startswith("json.loads(json.dumps("):
                    reader = re.match(r"(json\.loads?|yaml\.(safe_|full_|unsafe_)?load(_all)?)\(", called)
                    assert reader is None, f"{path}:{node.lineno} reads with {called}, not by dlrm_pl.documents"


@pytest.mark.parametrize(
    "module",
    [
        *("dlrm_pl", "dlrm_pl.cli", "dlrm_pl.commands", "dlrm_pl.atomic", "dlrm_pl.batch", "dlrm_pl.inspection"),
        *("dlrm_pl.data.preprocess", "dlrm_pl.data.synthetic", "dlrm_pl.data.dataset_folder"),
        *("dlrm_pl.metrics.paired", "dlrm_pl.migration.translate", "dlrm_pl.migration.render"),
    ],
)
def test_light_module_does_not_import_torch(module: str) -> None:
    program = f"import sys, {module}; assert 'torch' not in sys.modules, sorted(m for m in sys.modules if 'dlrm' in m)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_loading_an_artifact_imports_no_training_and_no_plotting() -> None:
    program = (
        "import sys, dlrm_pl.artifact.store; "
        "assert not {'torchmetrics', 'pytorch_lightning', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_untraced_tests_are_there() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")}
    assert files.keys() >= untraced.FILES
    assert set(re.findall(r"^ *def (test_\w+)", "\n".join(files.values()), re.MULTILINE)) >= untraced.TESTS
