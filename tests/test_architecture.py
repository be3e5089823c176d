"""Imports go one way, and some libraries are used in only one place; read from the sources with ast."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.column_counts import OTHER_NUMBERS, column_counts, sources_with_columns

pytestmark = pytest.mark.untraced

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "dlrm_pl"
FILES = sorted(PACKAGE.rglob("*.py"))

# A part is a folder or a file. A file belongs to the most specific part named here, and imports from it or from one
# above.
RANKS = [
    {"errors", "program", "version"},
    {"extras"},
    {"files/locks"},
    {"files/destinations"},
    {"files/replacement"},
    {"files", "documents"},
    {"memory"},
    {"pages"},
    {"pages/figures"},
    {"columns", "curves", "kernels"},
    {"data/splitmix64"},
    {"data/lookup"},
    {"data/formats"},
    {"data/sources/bad_rows", "data/sources/library"},
    {"data/sources/arrays"},
    {"data/raw_logs", "data/sources", "data/survey"},
    {"arrays", "data/encoding"},
    {"batch"},
    {"batch_group"},
    {"scoring"},
    {"metrics"},
    {"torch_file"},
    {"torch_folder"},
    {"saving"},
    {"kernels/int8"},
    {"kernels/training", "model/architecture", "model/weights_file"},
    {"model/parameter_names", "model/torchrec_names"},
    {"data/decoding", "data/preprocessing/threads"},
    {"data/preprocessing/engine"},
    {"data/loading", "model/checkpoints"},
    {"model/upstream", "model"},
    {"data/preprocessing/io", "model/training"},
    {"data/preprocessing", "model/load"},
    {"data/preprocessing/torchrec", "data/preprocessing/upstream", "runtime"},
    {"data/preprocessing/logs/inputs", "data/preprocessing/cluster/tasks"},
    {"data/preprocessing/cluster"},
    {"data/preprocessing/run", "data/synthetic"},
    {"quantization"},
    {"quantization/ptq", "quantization/judging"},
    {"quantization/aware", "quantization/sensitivity"},
    {"quantization/search"},
    {"quantization/search/strategies"},
    {"quantization/search/settings"},
    {"quantization/search/start"},
    {"quantization/search/tune"},
    {"quantization/search/kept_recipe"},
    {
        "artifact/fingerprint",
        "artifact/columns",
        "artifact/stated",
        "artifact/writing/sensitivities",
        "artifact/tensors",
        "artifact/writing/search_identity",
    },
    {"artifact/manifest"},
    {"artifact/certificate"},
    {"artifact/files", "artifact/summary"},
    {"artifact/card"},
    {"artifact/hub"},
    {"artifact"},
    {"artifact/writing/outcome", "artifact/writing/result_file"},
    {"artifact/report/report_data"},
    {"artifact/report/figures"},
    {"artifact/report"},
    {"artifact/writing", "artifact/verification"},
    {"export/numbers", "export/feed"},
    {"export/target"},
    {"export/onnx"},
    {"export/openvino", "export/torch_export"},
    {"export"},
    {"serving"},
    {"server/protocol"},
    {"server/inputs"},
    {"server/batching"},
    {"server/models"},
    {"server/settings"},
    {"server/http"},
    {"server"},
    {"benchmark"},
    {"benchmark/mlperf"},
    {"benchmark/report"},
    {"workflow"},
    {"inspection", "migration/flags", "migration/lpot"},
    {"plots"},
    {"callbacks"},
    {"distributed/engine"},
    {"distributed/plan"},
    {"distributed"},
    {"training_loop"},
    {"trainer"},
    {"sweep"},
    {"cli/garbage", "cli/output"},
    {"cli/quantized"},
    {"cli/arguments"},
    {"cli/help"},
    {"cli/commands"},
    {"cli/command_table"},
    {"cli/help/trainer_help", "cli/light", "cli/trainer/fit_plan"},
    {"cli/completion", "cli/trainer", "cli/plain_quantize"},
    {"cli/main"},
    {"cli/entry"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}

ONLY_IN = {
    "torch.ao": ["quantization/ptq/torch_ao.py"],
    "pytorch_lightning": [
        "callbacks/async_checkpoints.py",
        "callbacks/earlier_checkpoints.py",
        "callbacks/interrupt.py",
        "callbacks/mlperf_logging.py",
        "callbacks/monitors.py",
        "callbacks/predictions.py",
        "callbacks/quantization.py",
        "callbacks/throughput.py",
        "callbacks/training_clock.py",
        "callbacks/training_curves.py",
        "callbacks/quantization_aware.py",
        "cli/trainer/lightning_cli.py",
        "cli/trainer/reporting_cli.py",
        "cli/trainer/running.py",
        "cli/trainer/saved_config.py",
        "cli/trainer/sweep_cli.py",
        "data/loading/datamodule.py",
        "distributed/checkpoints/checkpointed.py",
        "distributed/processes/watched.py",
        "distributed/strategy.py",
        "model/training/engine/choice.py",
        "model/training/engine/hooks.py",
        "model/training/engine/native_engine.py",
        "model/training/engine/obstacles.py",
        "model/training/resuming/run_settings.py",
        "model/training/safeguards/bad_batches.py",
        "model/training/scored_module.py",
        "model/training/stored_module.py",
        "model/training/trained_module.py",
        "sweep/training.py",
        "trainer.py",
        "training_loop/checkpoint_names.py",
        "training_loop/checkpoints.py",
        "training_loop/counts.py",
        "training_loop/epochs.py",
        "training_loop/fetching.py",
        "training_loop/limits.py",
        "training_loop/memory.py",
        "training_loop/observed.py",
        "training_loop/observers.py",
        "training_loop/runs.py",
        "training_loop/step_log.py",
        "workflow/trial_scalars.py",
    ],
    "lightning": [],
    "optuna": ["quantization/search/strategies/model_based/optuna_sampler.py", "sweep/study.py"],
    "jinja2": ["pages/page.py"],
    "matplotlib": [
        "artifact/writing/outcome.py",
        "benchmark/comparison.py",
        "metrics/auroc.py",
        "metrics/calibration.py",
        "pages/figures/raster.py",
        "quantization/search/plot.py",
        "quantization/search/result.py",
        "sweep/plot.py",
    ],
    "mlperf_loadgen": ["benchmark/mlperf/harness.py"],
    "mlperf_logging": ["callbacks/mlperf_logging.py"],
    "onnx": ["export/onnx/library.py"],
    "onnxruntime": ["benchmark/rivals/onnx_runtime.py", "export/onnx/library.py"],
    "nncf": ["benchmark/rivals/open_vino.py"],
    "torchao": ["benchmark/rivals/pt2e.py"],
    "openvino": ["export/openvino/target.py"],
    "shtab": ["cli/completion.py"],
    "torchrec": [
        "distributed/communication.py",
        "distributed/engine.py",
        "distributed/key_jagged.py",
        "distributed/plan/engine_planner.py",
        "distributed/plan/to_engine.py",
        "distributed/sharded_tables.py",
    ],
    "fsspec": ["files/remote.py"],
    "ray": ["data/preprocessing/cluster/local_node.py", "data/preprocessing/cluster/ray_cluster.py"],
    "uvicorn": ["cli/commands/serve.py", "server/http/connections.py", "server/http/exchanges.py", "server/run.py"],
    "httptools": ["cli/commands/serve.py", "server/http/exchanges.py"],
    "huggingface_hub": ["artifact/hub/library.py"],
    "uvloop": ["cli/commands/serve.py"],
    "fbgemm_gpu": ["benchmark/rivals/fbgemm.py", "distributed/engine.py", "distributed/optimizers.py"],
}


def part_of(module: str) -> str | None:
    """Return the most specific part with a module: ``quantization.search.tune`` -> ``quantization/search/tune``."""
    path = module.replace(".", "/")
    while path and path not in RANK:
        path = path.rpartition("/")[0]
    return path or None


def module_of(path: Path) -> str:
    """Map ``data/formats/vocabulary.py`` to ``data.formats.vocabulary``, and ``__init__.py`` to its folder's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported(source: str) -> tuple[str, ...]:
    """Return the absolute names of all imports, wherever they are."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def violations(module: str, source: str) -> list[str]:
    """Return the imports of a module's source that violate the order."""
    part, found = part_of(module), []
    for name in imported(source):
        target = part_of(name.removeprefix("dlrm_pl.")) if name.startswith("dlrm_pl.") else None
        if part and target and target != part and RANK[target] >= RANK[part]:
            found.append(f"{part} imports {name}")
    return found


def test_every_source_is_in_a_part() -> None:
    assert len(FILES) > 40
    folders_above = {"", "data", "cli", "migration"}
    assert {module_of(path) for path in FILES if part_of(module_of(path)) is None} <= folders_above


def test_every_part_is_there() -> None:
    assert [part for part in RANK if not (PACKAGE / part).is_dir() and not (PACKAGE / f"{part}.py").is_file()] == []


def test_imports_go_from_left_to_right() -> None:
    """Except for the public names, which come from everywhere, and only when they are used."""
    others = [path for path in FILES if path != PACKAGE / "__init__.py"]
    found = {module_of(path): violations(module_of(path), path.read_text()) for path in others}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


def test_an_import_against_the_order_is_found() -> None:
    assert violations("data.loading.dataset", "from dlrm_pl.model.dlrm import DLRM") == [
        "data/loading imports dlrm_pl.model.dlrm.DLRM"
    ]
    assert violations("metrics.auroc", "def f():\n    import dlrm_pl.trainer") == ["metrics imports dlrm_pl.trainer"]
    assert violations("quantization.search.context", "from dlrm_pl.quantization.search import tune") == [
        "quantization/search imports dlrm_pl.quantization.search.tune"
    ]
    assert violations("artifact.store", "from dlrm_pl.errors import ArtifactError") == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_touched_only_where_it_belongs(library: str) -> None:
    users = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name == library or name.startswith(f"{library}.") for name in imported(path.read_text()))
    ]
    assert sorted(users) == sorted(ONLY_IN[library])


def test_frames_and_files_are_read_by_one_library_in_one_folder() -> None:
    for path in FILES:
        libraries = {name.partition(".")[0] for name in imported(path.read_text())}
        assert not libraries & {"pandas", "polars"}, (
            f"{path}: frames come in by Arrow's interface, without their library"
        )
        if not path.is_relative_to(PACKAGE / "data" / "sources"):
            assert "pyarrow" not in libraries, f"{path}: only dlrm_pl/data/sources may import pyarrow"


def test_no_test_imports_a_test() -> None:
    """Nor do the programs in its strings: code that two tests need belongs in tests/support or a conftest.py."""
    for path in TESTS.rglob("*.py"):
        if path == Path(__file__):
            continue
        found = re.findall(r"(?:from|import) tests[.\w]*[. ](?:import )?(?:test_|conftest)\w*", path.read_text())
        assert found == [], f"{path.relative_to(TESTS)}: move what it imports to tests/support"


def calls(path: Path, mentions: str) -> Iterator[ast.Call]:
    """Return the calls in a source that mentions the pattern: most do not, and need not be parsed."""
    text = path.read_text()
    if re.search(mentions, text):
        yield from (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))


def test_library_code_never_prints_and_never_exits() -> None:
    for path in FILES:
        if not path.is_relative_to(PACKAGE / "cli"):
            for node in calls(path, "print|exit"):
                called = ast.unparse(node.func)
                assert called not in ("print", "sys.exit", "exit"), f"{path}:{node.lineno} calls {called}"


def test_json_and_yaml_are_read_with_limits_alone() -> None:
    for path in FILES:
        if not path.is_relative_to(PACKAGE / "documents"):
            for node in calls(path, "json|yaml"):
                called = ast.unparse(node)
                # A value converted for comparison does not come from a file.
                if not called.startswith("json.loads(json.dumps("):
                    reader = re.match(r"(json\.loads?|yaml\.(safe_|full_|unsafe_)?load(_all)?)\(", called)
                    assert reader is None, f"{path}:{node.lineno} reads with {called}, not by dlrm_pl.documents"


def test_no_code_knows_how_many_columns_criteo_has() -> None:
    found = [line for name, text in sources_with_columns().items() for line in column_counts(name, text)]
    assert found == [], "follow the Columns of the data, or say in OTHER_NUMBERS what the number is"


def test_other_numbers_are_still_there() -> None:
    sources = sources_with_columns()
    gone = [
        (name, text) for name, texts in OTHER_NUMBERS.items() for text in texts if text not in sources.get(name, "")
    ]
    assert gone == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "x = 26"),
        ("a.py", "rows = ints[:, 1:40]"),
        ("a.py", "from dlrm_pl.counts import NUM_DENSE"),
        ("a.py", "def f(widths=(13, 512)): ..."),
        ("a.py", 'def f():\n    "Return int32 ``[rows, 40]``."'),
        ("a.py", "error = f'a line has {n} fields, not 39'"),
        ("a.cpp", "constexpr int kCount = 26;"),
        ("a.h", "for (int t = 0; t < kSparse; t++)"),
        ("configs/model/a.yaml", "bottom_mlp: [13, 512]"),
    ],
)
def test_a_number_of_columns_is_found(name: str, text: str) -> None:
    assert len(column_counts(name, text)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "TIB = 1 << 40"),
        ("a.py", "print(f'{count:>13} {share:<26}')"),
        ("a.py", 'def f():\n    """Add.\n\n    >>> f(13)\n    26\n    """'),
        ("a.py", "'torch 2.13, row 1.40'"),
        ("a.cpp", "x >> 13u; y = 1 << 40; // 26 tables"),
        ("configs/model/a.yaml", "rows: 400  # 26 tables"),
    ],
)
def test_another_number_is_not_taken_for_one(name: str, text: str) -> None:
    assert column_counts(name, text) == []


def test_light_modules_do_not_import_torch() -> None:
    light = [
        *("dlrm_pl", "dlrm_pl.cli.main", "dlrm_pl.cli.commands", "dlrm_pl.files.atomic", "dlrm_pl.batch"),
        *("dlrm_pl.inspection", "dlrm_pl.data.formats.dataset_folder", "dlrm_pl.data.synthetic.synthesize"),
        *("dlrm_pl.data.preprocessing.run", "dlrm_pl.metrics.paired", "dlrm_pl.migration.flags.translate"),
        "dlrm_pl.migration.flags.render",
    ]
    program = f"""
import importlib, sys
for name in {light}:
    importlib.import_module(name)
    assert not {{"torch", "pyarrow"}} & set(sys.modules), (name, sorted(m for m in sys.modules if "dlrm" in m))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_quantizing_and_loading_import_no_training_no_plotting_and_no_compiler() -> None:
    program = """
import sys
import torch
import dlrm_pl.artifact.store, dlrm_pl.cli.plain_quantize, dlrm_pl.export.export, dlrm_pl.workflow.quantize_model
from dlrm_pl.data.loading.split_loaders import SplitLoaders
from dlrm_pl.model.load import checkpoint_model
from dlrm_pl.runtime.int8_dlrm import count_int8_ops
from dlrm_pl.workflow.options import with_options
from tests.support import tiny
from tests.support.quantization.int8_models import lowered
with torch.device("meta"):
    tiny.model()
assert count_int8_ops(lowered(), tiny.batches(1, 2)[0])
heavy = {"torchmetrics", "pytorch_lightning", "matplotlib", "scipy", "torch._dynamo", "sympy", "pandas"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250, cwd=TESTS.parent)
