"""Processes with sharded tables train the same weights as one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes.sharded import needs_engine
from tests.support.processes.sharded_cases import (
    Case,
    Trained,
    largest_difference,
    of_module,
    read,
    train,
    train_sharded,
    untrained,
    write_multi_hot,
)

pytestmark = [pytest.mark.long, needs_engine, pytest.mark.filterwarnings("ignore::UserWarning")]

_SHARDINGS = ("table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel")
_ADAGRAD = {"optimizer": "adagrad", "learning_rate": 0.05}
_ROW_WISE_ADAGRAD = {"optimizer": "rwsadagrad", "learning_rate": 0.05}
_DCN = {"interaction": "dcn", "cross_layers": 2, "cross_rank": 5}
_SCHEDULE = {"lr_num_warmup_steps": 2, "lr_schedule": "cosine", "lr_decay_start_step": 4, "lr_num_decay_steps": 5}

# Tolerances of the weights relative to those of one TorchRec process, and why the bits differ.
_PARTIAL_SUMS = 1e-6  # Each process sums its rows of a bag; their sums are added in another order.
_ALL_REDUCED = 1e-6  # Gloo adds gradients of tables that all processes have in its own order.
_BATCH_BY_BATCH = 1e-6  # Samples of a step come rank by rank, but on one process batch by batch.

CASES: dict[str, tuple[Case, float]] = {
    **{
        f"{sharding}-one-hot": (Case({"sharding": sharding}), 0)
        for sharding in ("row_wise", "column_wise", "table_row_wise")
    },
    "auto": (Case({}), _ALL_REDUCED),
    "by-name": (
        Case({"sharding": {"C1": "row_wise", "C2": "column_wise", "2": "table_wise", "3": "data_parallel"}}),
        _ALL_REDUCED,
    ),
    "column_wise-dcn-adagrad": (Case({"sharding": "column_wise"}, "multi-hot", options=_DCN | _ADAGRAD), 0),
    "table_wise-dcn-bf16": (Case({"sharding": "table_wise"}, precision="bf16-mixed", options=_DCN), 0),
    "row_wise-multi-hot": (Case({"sharding": "row_wise"}, "multi-hot"), _PARTIAL_SUMS),
    "row_wise-rwsadagrad": (Case({"sharding": "row_wise"}, options=_ROW_WISE_ADAGRAD | _SCHEDULE), 0),
    "table_wise-accumulated": (Case({"sharding": "table_wise"}, accumulated=2, options=_SCHEDULE), _BATCH_BY_BATCH),
    # Rounded when sent between two processes.
    "row_wise-fp16": (Case({"sharding": "row_wise", "communication": "fp16"}), 2e-4),
    "column_wise-int8": (Case({"sharding": "column_wise", "communication": "int8"}), 1e-2),
}
# Every sharding with every optimizer, layout of ids, interaction and accumulation that it supports.
ALL_CASES: dict[str, tuple[Case, float]] = {
    f"{sharding}-{optimizer}-{data}-{interaction}-{accumulated}": (
        Case(
            {"sharding": sharding},
            data,
            accumulated,
            options={"sgd": {}, "adagrad": _ADAGRAD, "rwsadagrad": _ROW_WISE_ADAGRAD}[optimizer]
            | ({"interaction": interaction} if interaction != "dcn" else _DCN),
            dim=16,
        ),
        # Adagrad divides gradients by their own size, so rounding of a gradient near 0 affects the whole step.
        (0 if accumulated == 1 and data == "one-hot" and sharding != "data_parallel" else 1e-6)
        * (1 if optimizer == "sgd" else 100),
    )
    for sharding in _SHARDINGS
    for optimizer in ("sgd", "adagrad", "rwsadagrad")
    for data, interaction in (("one-hot", "dot"), ("multi-hot", "cat"), ("multi-hot", "dcn"))
    for accumulated in (1, 2)
    if (sharding, optimizer) != ("column_wise", "rwsadagrad")
}


@pytest.fixture(scope="module")
def data(few_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = write_multi_hot(tmp_path_factory.mktemp("multi_hot") / "dataset")
    return {"one-hot": str(few_tables), "multi-hot": str(folder)}


@pytest.fixture(scope="module")
def folders(data: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The results of two processes and of one."""
    cases = {name: case for name, (case, _) in CASES.items()}
    found = {count: tmp_path_factory.mktemp("trained") for count in (1, 2)}
    for count, folder in found.items():
        train_sharded(cases, data, folder, processes=count, shares=2)
    return found


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_the_weights_of_one_process_of_the_engine(folders: dict[int, Path], name: str) -> None:
    _, tolerance = CASES[name]
    assert largest_difference(read(folders[2], name, 2), read(folders[1], name, 1)) <= tolerance


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_that_torch_trains_without_torchrec(
    folders: dict[int, Path], data: dict[str, str], name: str
) -> None:
    case, rounded = CASES[name]
    alone = of_module(train(case, data[case.data], 1, 2))
    # Torch sums the gradients of a row in another order than FBGEMM; bf16 rounds sums that differ.
    tolerance = {"32-true": 1e-6, "bf16-mixed": 1e-5}[case.precision] * (1 if "adagrad" not in name else 10)
    assert largest_difference(read(folders[2], name, 2), alone) <= max(tolerance, rounded)
    started = of_module(untrained(case, data[case.data]))
    assert _smallest_change(alone, started) > 100 * tolerance, "the training changed too little to tell"


@pytest.mark.parametrize("name", ["row_wise-fp16", "column_wise-int8"])
def test_values_are_sent_in_the_type_that_is_asked_for(folders: dict[int, Path], name: str) -> None:
    whole = read(folders[2], f"{name.partition('-')[0]}-one-hot", 2)
    assert largest_difference(read(folders[2], name, 2), whole) > 1e-6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("sharding", _SHARDINGS)
def test_all_optimizers_layouts_and_interactions(
    data: dict[str, str], tmp_path: Path, sharding: str, count: int
) -> None:
    cases = {name: case for name, (case, _) in ALL_CASES.items() if case.strategy["sharding"] == sharding}
    folders = {processes: tmp_path / str(processes) for processes in (1, count)}
    for processes, folder in folders.items():
        folder.mkdir()
        train_sharded(cases, data, folder, processes=processes, shares=count)
    found = {name: largest_difference(read(folders[count], name, count), read(folders[1], name, 1)) for name in cases}
    assert {name: value for name, value in found.items() if not value <= ALL_CASES[name][1]} == {}


def _smallest_change(one: Trained, other: Trained) -> float:
    """Return the change of the tensor that changed least."""
    pairs = [*zip(one.tables, other.tables, strict=True), *((one.dense[name], other.dense[name]) for name in one.dense)]
    return min(float((first - second).abs().max()) for first, second in pairs)
