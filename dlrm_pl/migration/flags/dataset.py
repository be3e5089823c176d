"""Flags of the data -> ``data`` and the command that makes its folder."""

from __future__ import annotations

from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.parse import Values
from dlrm_pl.migration.flags.pasted import variables_of
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.program import program_name

# Names of upstream's output, which is written next to the raw logs, if no name is given.
_DEFAULT_STEM = {"kaggle": "kaggleAdDisplayChallenge_processed", "terabyte": "terabyte_processed"}
_OF_LOGS = ("--raw-data-file", "--data-set", "--data-randomize", "--data-sub-sample-rate", "--max-ind-range")
_BIN, _MAP, _LOGGING = "--mlperf-bin-loader", "--memory-map", "--mlperf-logging"


def reads_binary_files(values: Values) -> bool:
    """Return whether upstream would honour ``--mlperf-bin-loader``."""
    return values.on(_BIN) and _streams_days(values)


def _streams_days(values: Values) -> bool:
    """Whether upstream uses one of its two loaders for Terabyte, which have no workers and read in order."""
    terabyte = values.text("--data-set") == "terabyte"
    return terabyte and values.on(_MAP) and (values.on(_LOGGING) or values.program == "ipex")


def translate_dataset(plan: Plan) -> None:
    """Set all of ``data``, and begin the commands."""
    values = plan.values
    _source(plan)
    folder = dataset_folder(values)
    named = "--processed-data-file" if values.text("--processed-data-file") else "--raw-data-file"
    why = "passed by the commands, since YAML has no variables" if variables_of(folder) else "made by `preprocess`"
    plan.set("data.folder", folder, named, why=why)
    _batches(plan)
    _order(plan)
    cap = values.integer("--max-ind-range")
    plan.set("data.max_ind_range", cap if cap > 0 else -1, "--max-ind-range", why="" if cap > 0 else "no cap")
    _preprocess(plan, folder)


def dataset_folder(values: Values) -> str:
    """Return the dataset folder: the stem of the processed file, or upstream's name for it next to the raw logs."""
    processed, raw = values.text("--processed-data-file"), values.text("--raw-data-file")
    layout = values.text("--data-set")
    if not processed:
        directory, slash, _ = raw.rpartition("/")
        return directory + slash + _DEFAULT_STEM.get(layout, "dataset")
    directory, slash, name = processed.rpartition("/")
    stem = name.split(".")[0] or name
    # A variable's value may have no file extension, and the folder must not have the same name as the file.
    return directory + slash + stem + ("_dataset" if "$" in name else "")


def _source(plan: Plan) -> None:
    """Refuse what is not a Criteo dataset."""
    values = plan.values
    generation, raw = values.text("--data-generation"), values.text("--raw-data-file")
    if values.program != "ipex" and generation != "dataset":
        text = "means Facebook's internal data, which is not available. Give --data-generation=dataset and files"
        if generation != "internal":
            ignored = f", although --raw-data-file={raw} is given" if raw else ""
            text = (
                f"trains on random numbers{ignored}. Add --data-generation=dataset to train on files; for synthetic "
                f"clicks with a known best AUROC, make files first: `{program_name()} synthesize --output logs "
                "--format raw`, then --data-set=terabyte --raw-data-file=logs/day"
            )
        plan.refuse("--data-generation", text)
    if values.text("--data-set") not in _DEFAULT_STEM:
        plan.refuse("--data-set", "must be kaggle or terabyte, the layout of the raw logs; upstream fails too")
    if not raw and not values.text("--processed-data-file"):
        plan.refuse("--raw-data-file", "names no data. Give PATH/train.txt (kaggle) or PATH/day (terabyte)")


def _batches(plan: Plan) -> None:
    values = plan.values
    own, tested = values.integer("--mini-batch-size"), values.integer("--test-mini-batch-size")
    ranks = plan.processes or 1
    share = f"{own} shared by {ranks} processes" if ranks > 1 else ""
    plan.set("data.batch_size", max(1, own // ranks), "--mini-batch-size", why=share)
    if own < 1:
        plan.refuse("--mini-batch-size", "must be at least 1")
    elif own % ranks:
        plan.refuse(
            "--mini-batch-size",
            f"is not divisible by {ranks} processes; upstream skips every such batch. Give a multiple of {ranks}",
        )
    why = "below 0: same as --mini-batch-size" if tested < 0 else ""
    plan.set(
        "data.eval_batch_size", max(1, (own if tested < 0 else tested) // ranks), "--test-mini-batch-size", why=why
    )
    if tested == 0:
        plan.refuse("--test-mini-batch-size", "must be at least 1, or below 0 to be the same as --mini-batch-size")


def _order(plan: Plan) -> None:
    values = plan.values
    conditions = {_LOGGING: values.on(_LOGGING) or values.program == "ipex", _MAP: values.on(_MAP)}
    conditions["--data-set=terabyte"] = values.text("--data-set") == "terabyte"
    missing = " and ".join(name for name, holds in conditions.items() if not holds)
    binary, shuffled = reads_binary_files(values), values.on("--mlperf-bin-shuffle")
    flags = ("--mlperf-bin-shuffle", _BIN) if shuffled else ("--mlperf-bin-shuffle",)
    if binary:
        plan.set("data.shuffle", "batch" if shuffled else "none", *flags, why="" if shuffled else "as in the file")
    else:
        plan.set("data.shuffle", "none", why="as in the file, which `preprocess` has shuffled")
    if values.on(_BIN) and not binary:
        plan.note(_BIN, f"is ignored by upstream without {missing}; here the format is the same in any case")
    if shuffled and not binary:
        plan.note("--mlperf-bin-shuffle", "only shuffles in upstream if --mlperf-bin-loader takes effect")
    if values.on(_MAP):
        plan.note(_MAP, "a dataset folder is always memory-mapped" + (f"; a condition for {_BIN}" if binary else ""))
    plan.set("data.seed", values.integer("--numpy-rand-seed"), "--numpy-rand-seed", why="of the order")
    workers = values.integer("--num-workers")
    if workers and _streams_days(values):
        plan.note("--num-workers", "is ignored by upstream's Terabyte loaders")
        workers = 0
    plan.set("data.num_workers", workers, *(["--num-workers"] if values.program != "ipex" else []))
    if workers < 0:
        plan.refuse("--num-workers", "must be 0 or more")


def _preprocess(plan: Plan, folder: str) -> None:
    values = plan.values
    raw, processed = values.text("--raw-data-file"), values.text("--processed-data-file")
    layout, randomize = values.text("--data-set"), values.text("--data-randomize")
    rate, cap = values.number("--data-sub-sample-rate"), values.integer("--max-ind-range")
    seed = values.integer("--numpy-rand-seed")
    kaggle = ["--layout", "kaggle"] if layout == "kaggle" else []
    common = [*kaggle, "--max_ind_range", str(max(cap, 0))]
    of_logs = []
    if randomize != "total":
        of_logs += ["--randomize", randomize if randomize == "day" else "none"]
    if rate:
        of_logs += ["--subsample_rate", str(rate)]
    if "--numpy-rand-seed" in values.given and seed != PreprocessOptions.seed:
        common += ["--seed", str(seed)]
    if raw:
        shaping = [name for name in _OF_LOGS if name in values.given]
        comment = f"Once, from the raw logs ({', '.join(shaping)}). {_others(values)}"
        plan.run("preprocess", "--raw", raw, "--output", folder, *common, *of_logs, comment=comment)
    elif processed:
        source = processed.rpartition("/")[0] or "." if reads_binary_files(values) else processed
        comment = "Once, from upstream's preprocessed files, which are not shuffled again."
        plan.run("preprocess", "--raw", source, "--output", folder, *common, comment=comment)
        for name in ("--data-sub-sample-rate", "--data-randomize"):
            if name in values.given:
                plan.note(name, "only affects raw logs, but none are given")
    try:
        PreprocessOptions(max_ind_range=cap, subsample_rate=rate, seed=seed)
    except ConfigurationError as error:
        plan.refuse(
            "--data-sub-sample-rate" if "subsample" in str(error) else "--max-ind-range", str(error).rstrip(".")
        )
    if rate and raw:
        plan.note(
            "--data-sub-sample-rate",
            "also drops non-clicks of the test day, as in upstream: the click rate and the AUROC differ",
        )


def _others(values: Values) -> str:
    """Say where upstream's own files can be used instead."""
    raw, processed = values.text("--raw-data-file"), values.text("--processed-data-file")
    if reads_binary_files(values) and processed:
        return f"If upstream's .bin files exist: --raw {processed.rpartition('/')[0] or '.'} links them."
    if values.on(_MAP):
        return f"If upstream's {raw}_N_reordered.npz exist instead, the same command uses them."
    return f"If upstream's processed file exists: --raw {processed} uses it." if processed else ""
