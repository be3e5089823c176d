"""Flags of the run -> ``trainer``, its callbacks and the commands."""

from __future__ import annotations

from dlrm_pl.migration.flags.plan import Plan, Tree

_LIGHTNING = "pytorch_lightning"
_RUN = "dlrm_main"
_FREQUENCY, _THRESHOLD = "--validation_freq_within_epoch", "--validation_auroc"
_EPOCH_END, _TRAINING_END = "--evaluate_on_epoch_end", "--evaluate_on_training_end"
_ENOUGH = 1_000_000


def translate_training(plan: Plan) -> None:
    """Set all of ``trainer``, and add the commands."""
    values = plan.values
    _devices(plan)
    plan.set("trainer.max_epochs", values.integer("--epochs"), "--epochs")
    _evaluations(plan)
    for split in ("train", "val", "test"):
        flag = f"--limit_{split}_batches"
        if (limit := values.by_name[flag]) is not None:
            plan.set(f"trainer.limit_{split}_batches", limit, flag)
    plan.set("trainer.num_sanity_val_steps", 0, why="no evaluation before the first step")
    logger: Tree = {
        "class_path": plan.setting(f"{_LIGHTNING}.loggers.CSVLogger"),
        "init_args": {"save_dir": plan.setting("runs"), "name": plan.setting(_RUN)},
    }
    plan.settings["trainer"]["logger"] = logger
    _callbacks(plan)
    plan.run("fit", "-c", plan.config)
    if values.program == "torchrec" or values.on(_TRAINING_END):
        comment = "On test, the second half of the last day, with the weights at the end."
        plan.run("test", "-c", plan.config, "--ckpt_path", f"runs/{_RUN}/last.ckpt", comment=comment)
    if values.program == "torchrec":
        plan.note(
            "dlrm_main.py",
            "is read as the program of facebookresearch/dlrm, which evaluates after each epoch and tests at the end; "
            "MLPerf's copy does neither without additional flags",
        )
    if values.on(_TRAINING_END):
        plan.note(_TRAINING_END, "is the command `test`")


def _devices(plan: Plan) -> None:
    processes = plan.processes or 1
    if processes * plan.machines == 1:
        plan.set("trainer.accelerator", "auto", why="a GPU if there is one, as in the program itself")
        plan.set("trainer.devices", 1)
        return
    plan.set("trainer.accelerator", "cpu", why="tables are sharded on CPUs")
    plan.set("trainer.devices", processes, why="as many as the launcher starts; Lightning starts them itself")
    if plan.machines > 1:
        plan.set("trainer.num_nodes", plan.machines, why="start the command on each of them")
    plan.set("trainer.strategy", "sharded", why="tables sharded by TorchRec, as with DistributedModelParallel")
    plan.note(
        f"{processes * plan.machines} processes",
        "share the tables. A single process does the same with `--trainer.devices 1 --trainer.strategy auto` and "
        f"`--data.batch_size {processes * plan.machines * plan.values.integer('--batch_size')}`",
    )


def _evaluations(plan: Plan) -> None:
    values = plan.values
    every = values.by_name[_FREQUENCY]
    if isinstance(every, int) and every > 0:
        plan.set("trainer.val_check_interval", every, _FREQUENCY, why="batches; limited to those of an epoch")
        if values.program == "torchrec" or values.on(_EPOCH_END):
            flag = _EPOCH_END if values.on(_EPOCH_END) else _FREQUENCY
            plan.note(flag, "the program also evaluates after the last step of an epoch; here, run `validate` for that")
        return
    if isinstance(every, int) and every < 0:
        plan.refuse(_FREQUENCY, "must be at least 1")
    flags = [_FREQUENCY] if _FREQUENCY in values.given else []
    if values.program == "torchrec" or values.on(_EPOCH_END):
        flags += [_EPOCH_END] if values.on(_EPOCH_END) else []
        plan.set("trainer.val_check_interval", 1.0, *flags, why="at the end of each epoch")
    else:
        plan.set("trainer.limit_val_batches", 0, *flags, why="never evaluate during training")


def _callbacks(plan: Plan) -> None:
    values = plan.values
    plan.callback(f"{_LIGHTNING}.callbacks.RichProgressBar")
    threshold, evaluates = values.by_name[_THRESHOLD], "val_check_interval" in plan.settings["trainer"]
    if isinstance(threshold, float):
        if not 0 < threshold < 1:
            plan.refuse(_THRESHOLD, "must be between 0 and 1")
        if not values.on(_FREQUENCY):
            plan.note(_THRESHOLD, f"stops the program only together with {_FREQUENCY}")
        else:
            plan.callback(
                f"{_LIGHTNING}.callbacks.EarlyStopping",
                {
                    "monitor": plan.setting("val_auroc"),
                    "mode": plan.setting("max"),
                    "stopping_threshold": plan.setting(threshold, _THRESHOLD),
                    "patience": plan.setting(_ENOUGH, why="stop only at the threshold, never for lack of progress"),
                },
            )
    saved: Tree = {"dirpath": plan.setting(f"runs/{_RUN}"), "filename": plan.setting("model")}
    if evaluates:
        saved |= {"monitor": plan.setting("val_auroc"), "mode": plan.setting("max")}
        saved["filename"] = plan.setting("best")
        plan.set("trainer.async_checkpoints", True, why="checkpoints are written while training goes on")
    saved |= {"save_last": plan.setting(True), "enable_version_counter": plan.setting(False)}
    plan.callback(f"{_LIGHTNING}.callbacks.ModelCheckpoint", saved, "the program saves nothing")
    if values.program == "mlperf_v2":
        arguments = {"path": plan.setting(f"runs/{_RUN}/mlperf.log")}
        if isinstance(threshold, float) and 0 < threshold < 1:
            arguments["auroc_threshold"] = plan.setting(threshold, _THRESHOLD)
        plan.callback("dlrm_pl.MLPerfLogging", arguments, "MLPerf's copy always writes this log")
        plan.note("dlrm_main.py", "needs a package for MLPerf's log: pip install 'dlrm-pl[mlperf]'")
