"""Flags of the data -> ``data``: a folder of days in TorchRec's format, which is read as it is."""

from __future__ import annotations

from dlrm_pl.columns.columns import Columns
from dlrm_pl.migration.flags.pasted import variables_of
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.program import program_name

_ONE_HOT, _MULTI_HOT = "--in_memory_binary_criteo_path", "--synthetic_multi_hot_criteo_path"
_ROWS, _SAME_ROWS = "--num_embeddings_per_feature", "--num_embeddings"
_BAGS, _DISTRIBUTION = "--multi_hot_sizes", "--multi_hot_distribution_type"


def translate_dataset(plan: Plan) -> None:
    """Set all of ``data``."""
    _folder(plan)
    _tables(plan)
    _bags(plan)
    _batches(plan)
    values = plan.values
    shuffled = values.on("--shuffle_training_set")
    why = "" if shuffled else "as in the files, whose rows are already shuffled"
    plan.set("data.shuffle", "row" if shuffled else "none", "--shuffle_training_set", why=why)
    if (seed := values.by_name["--seed"]) is not None:
        plan.set("data.seed", seed, "--seed", why="of the order")
    if values.program == "torchrec" and values.text("--dataset_name") == "criteo_kaggle":
        plan.refuse(
            "--dataset_name",
            f"validates and tests on rows that it was trained on, because there are no others. `{program_name()} "
            "preprocess --layout kaggle` makes a dataset whose last day is not trained on, from the raw logs",
        )
    elif values.text("--dataset_name") not in ("criteo_1t", "criteo_kaggle"):
        plan.refuse("--dataset_name", "must be criteo_1t or criteo_kaggle, as in the program itself")
    elif "--dataset_name" in values.given:
        plan.note("--dataset_name", "the files of the folder say what they are")


def _folder(plan: Plan) -> None:
    values = plan.values
    given = [flag for flag in (_ONE_HOT, _MULTI_HOT) if values.on(flag)]
    if len(given) == 2:
        plan.refuse(
            _ONE_HOT,
            f"cannot be combined with {_MULTI_HOT}, as in the program itself. Give the one with the folder to train on",
        )
    elif not given:
        plan.refuse(
            _ONE_HOT,
            f"is missing, and so is {_MULTI_HOT}: without a folder the program trains on random numbers. For "
            f"synthetic clicks with a known best AUROC: `{program_name()} synthesize`",
        )
    folder = str(values.by_name[given[0]]) if given else ""
    why = "passed by the commands, since YAML has no variables" if variables_of(folder) else "read as it is"
    plan.set("data.folder", folder, *given[:1], why=why)


def _tables(plan: Plan) -> None:
    values, count = plan.values, Columns.criteo().num_sparse
    flag = _ROWS if values.on(_ROWS) else _SAME_ROWS
    sizes = values.integers(_ROWS) if values.on(_ROWS) else [values.integer(_SAME_ROWS)] * count
    plan.set("data.table_sizes", sizes, flag)
    if len(sizes) != count:
        plan.refuse(flag, f"has {len(sizes)} numbers, but there are {count} categorical columns")
    elif min(sizes) < 1:
        plan.refuse(flag, "must be at least 1")
    if values.on(_ROWS) and _SAME_ROWS in values.given:
        plan.note(_SAME_ROWS, f"is ignored if {_ROWS} is given, as in the program itself")


def _bags(plan: Plan) -> None:
    values, count = plan.values, Columns.criteo().num_sparse
    if values.on(_MULTI_HOT):
        for flag in (_BAGS, _DISTRIBUTION):
            if values.on(flag):
                plan.refuse(
                    flag, f"makes bags from single ids, but {_MULTI_HOT} already has bags; the program stops as well"
                )
        return
    if not values.on(_BAGS):
        if values.on(_DISTRIBUTION):
            plan.note(_DISTRIBUTION, f"only has an effect with {_BAGS}")
        return
    sizes = values.integers(_BAGS)
    plan.set("data.multi_hot_sizes", sizes, _BAGS, why="drawn with lookup tables that are written into the folder once")
    plan.set("data.multi_hot_distribution", values.by_name[_DISTRIBUTION], _DISTRIBUTION)
    if len(sizes) != count or min(sizes) < 1:
        plan.refuse(_BAGS, f"must be {count} numbers of at least 1, one for each categorical column")
    if not values.on(_DISTRIBUTION):
        plan.refuse(_DISTRIBUTION, f"is missing: {_BAGS} needs uniform or pareto, as in the program itself")
    if not values.on(_ROWS):
        plan.refuse(_ROWS, f"is missing: {_BAGS} needs the number of rows of each table, as in the program itself")


def _batches(plan: Plan) -> None:
    values = plan.values
    own, tested = values.integer("--batch_size"), values.by_name["--test_batch_size"]
    all_of_them = (plan.processes or 1) * plan.machines
    why = f"per process: {own * all_of_them:,} in total" if all_of_them > 1 else ""
    plan.set("data.batch_size", own, "--batch_size", why=why)
    why = "as --batch_size" if tested is None else ""
    plan.set("data.eval_batch_size", own if tested is None else tested, "--test_batch_size", why=why)
    for flag, size in (("--batch_size", own), ("--test_batch_size", tested)):
        if isinstance(size, int) and size < 1:
            plan.refuse(flag, "must be at least 1")
