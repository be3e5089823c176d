"""Flags of the run -> ``trainer`` and its callbacks."""

from __future__ import annotations

from dlrm_pl.migration.flags.plan import Plan, Tree

_LIGHTNING = "pytorch_lightning"
_BACKENDS = {"gloo": "gloo", "nccl": "nccl", "mpi": "gloo", "ccl": "gloo"}


def run_name(plan: Plan) -> str:
    """Return the name for logs and checkpoints."""
    values = plan.values
    return values.text("--tensor-board-filename" if "--tensor-board-filename" in values.given else "--data-set")


def model_path(plan: Plan) -> tuple[str, str]:
    """Return the folder and name, without ``.ckpt``, of a training run's checkpoint."""
    if not _names_checkpoint(plan):
        return f"runs/{run_name(plan)}", "best" if tests_while_training(plan) else "model"
    directory, _, name = plan.values.text("--save-model").rpartition("/")
    return directory or ".", name.removesuffix(".pt").removesuffix(".ckpt")


def _names_checkpoint(plan: Plan) -> bool:
    """Whether ``--save-model`` names a checkpoint; in the IPEX variant, it may be the folder of the int8 model."""
    values = plan.values
    int8 = values.program == "ipex" and (values.on("--tune") or values.on("--int8"))
    return bool(values.text("--save-model")) and not int8


def tests_while_training(plan: Plan) -> bool:
    """Return whether upstream would test, and therefore save, while it trains."""
    values = plan.values
    if values.program == "ipex":
        return values.on("--should-test") and (values.integer("--test-freq") > 0 or _ipex_twentieth(plan))
    return values.integer("--test-freq") > 0


def _ipex_twentieth(plan: Plan) -> bool:
    return plan.values.program == "ipex" and plan.values.integer("--test-freq") == -1


def translate_training(plan: Plan, trains: bool) -> None:
    """Set all of ``trainer`` except quantization.

    Args:
        plan: plan to extend.
        trains: whether the command line trains. If not, training settings are still set, but differences from upstream
            are not noted.
    """
    values = plan.values
    _devices(plan)
    plan.set("trainer.max_epochs", values.integer("--nepochs"), "--nepochs")
    _test_frequency(plan, trains)
    _limits(plan)
    plan.set("trainer.num_sanity_val_steps", 0, why="upstream has no test before the first step")
    _accumulation(plan)
    plan.set("trainer.log_every_n_steps", values.integer("--print-freq"), "--print-freq")
    if values.integer("--print-freq") < 1:
        plan.refuse("--print-freq", "must be at least 1")
    if values.on("--bf16"):
        plan.set("trainer.precision", "bf16-mixed", "--bf16")
    if values.on("--enable-profiling"):
        plan.set("trainer.profiler", "pytorch", "--enable-profiling")
    named = "--tensor-board-filename" if "--tensor-board-filename" in values.given else "--data-set"
    logger: Tree = {
        "class_path": plan.setting(f"{_LIGHTNING}.loggers.CSVLogger"),
        "init_args": {"save_dir": plan.setting("runs"), "name": plan.setting(run_name(plan), named)},
    }
    plan.settings["trainer"]["logger"] = logger
    _callbacks(plan, trains)


def _devices(plan: Plan) -> None:
    values = plan.values
    if values.on("--use-gpu"):
        plan.set("trainer.accelerator", "gpu", "--use-gpu")
        if not plan.processes:
            plan.note(
                "--use-gpu",
                "upstream spreads the tables over all GPUs in one process, and uses the CPU if there is no GPU; here "
                "one GPU trains, or with --trainer.devices N, N of them, each with all tables and 1/N of the batch",
            )
    else:
        if values.program == "ipex":
            plan.set("trainer.accelerator", "cpu", why="as in the IPEX variant")
        else:
            plan.set("trainer.accelerator", "cpu", "--use-gpu", why="without it, upstream computes on the CPU")
    backend = values.text("--dist-backend")
    if plan.processes and plan.processes > 1:
        plan.set("trainer.devices", plan.processes, why="as many as the launcher starts; Lightning starts them itself")
        chosen = _BACKENDS.get(backend, "nccl" if values.on("--use-gpu") else "gloo")
        strategy: Tree = {
            "class_path": plan.setting(f"{_LIGHTNING}.strategies.DDPStrategy"),
            "init_args": {"process_group_backend": plan.setting(chosen, "--dist-backend")},
        }
        plan.settings["trainer"]["strategy"] = strategy
        if backend not in ("", chosen):
            plan.note("--dist-backend", f"needs a torch that was built with it; {chosen} does the same here")
    else:
        plan.set("trainer.devices", 1)
        if "--dist-backend" in values.given:
            plan.note(
                "--dist-backend",
                "the command line has no launcher that states the number of processes, so one is started. For N "
                "processes: --trainer.devices N --trainer.strategy ddp, and 1/N of data.batch_size",
            )
    if backend not in ("", *_BACKENDS):
        plan.refuse("--dist-backend", f"must be one of {', '.join(_BACKENDS)}")


def _test_frequency(plan: Plan, trains: bool) -> None:
    values = plan.values
    name, every, batches = "--test-freq", values.integer("--test-freq"), values.integer("--num-batches")
    flags = (name, "--should-test") if values.program == "ipex" else (name,)
    if not tests_while_training(plan):
        plan.set("trainer.limit_val_batches", 0, *flags, why="never test during training")
        if trains and values.text("--save-model"):
            plan.note(
                "--save-model",
                "upstream saves only when it tests, which it never does here; this program saves the model at the end",
            )
        return
    if _ipex_twentieth(plan):
        plan.set("trainer.val_check_interval", 0.05, *flags, why="20 times an epoch")
        return
    if batches and every > batches:
        plan.set("trainer.val_check_interval", 1.0, *flags, "--num-batches", why="at the end of the epoch")
        return
    why = "batches; limited to those of an epoch"
    plan.set("trainer.val_check_interval", every, *flags, why=why)
    if trains:
        plan.note(
            name,
            "during training, upstream tests on test; here it is val, the other half of the last day, so that test "
            "stays unseen. Upstream also tests after an epoch's last batch; here the command `test` does so at the "
            "end",
        )


def _limits(plan: Plan) -> None:
    batches = plan.values.integer("--num-batches")
    if batches < 1:
        if "--num-batches" in plan.values.given:
            plan.note("--num-batches", "is off below 1")
        return
    plan.set("trainer.limit_train_batches", batches, "--num-batches")
    if tests_while_training(plan):
        plan.set("trainer.limit_val_batches", batches, "--num-batches", why="upstream limits its tests as well")
    plan.set("trainer.limit_test_batches", batches, "--num-batches", why="upstream limits its tests as well")


def _accumulation(plan: Plan) -> None:
    values = plan.values
    name, batches = "--mlperf-grad-accum-iter", values.integer("--mlperf-grad-accum-iter")
    if name not in values.given:
        return
    if batches < 1:
        plan.refuse(name, "must be at least 1")
    elif not values.on("--mlperf-logging"):
        plan.note(name, "takes effect in upstream only with --mlperf-logging; without it, every batch is a step")
    else:
        plan.set("trainer.accumulate_grad_batches", batches, name)
        if batches > 1:
            plan.note(
                name,
                "upstream sets the gradients to 0 just before the step, so each step uses only those of every "
                f"{batches}th batch; here they are averaged over all {batches}",
            )


def _callbacks(plan: Plan, trains: bool) -> None:
    plan.callback(f"{_LIGHTNING}.callbacks.RichProgressBar")
    _threshold(plan, trains)
    directory, name = model_path(plan)
    flags = ["--save-model"] if _names_checkpoint(plan) else []
    best: Tree = {"dirpath": plan.setting(directory, *flags), "filename": plan.setting(name)}
    comment = "the model at the end; upstream saves none without tests"
    if tests_while_training(plan):
        best |= {"monitor": plan.setting("val_auroc"), "mode": plan.setting("max"), "save_last": plan.setting(True)}
        comment = "on the best val AUROC"
        plan.set("trainer.async_checkpoints", True, why="checkpoints are written while training goes on")
    best["enable_version_counter"] = plan.setting(False)
    plan.callback(f"{_LIGHTNING}.callbacks.ModelCheckpoint", best, comment)
    _mlperf_logging(plan, trains)


def _threshold(plan: Plan, trains: bool) -> None:
    values = plan.values
    name, threshold = "--mlperf-auc-threshold", values.number("--mlperf-auc-threshold")
    accuracy = "--mlperf-acc-threshold"
    stops = tests_while_training(plan) and (values.on("--mlperf-logging") or values.program == "ipex")
    if values.number(accuracy) > 0:
        if stops and trains:
            plan.refuse(
                accuracy,
                "accuracy is not computed here: where 3 % of the labels are clicks, a model that never predicts one is "
                "97 % accurate. Give --mlperf-auc-threshold, for example 0.8025",
            )
        else:
            plan.note(accuracy, "stops training in upstream only with --mlperf-logging and --test-freq above 0")
    if threshold <= 0:
        if name in values.given:
            plan.note(name, "is off at 0 and below")
        return
    if not stops:
        condition = "--should-test" if values.program == "ipex" else "--mlperf-logging and --test-freq above 0"
        plan.note(name, f"only stops upstream with {condition}")
        return
    plan.callback(
        f"{_LIGHTNING}.callbacks.EarlyStopping",
        {
            "monitor": plan.setting("val_auroc"),
            "mode": plan.setting("max"),
            "stopping_threshold": plan.setting(threshold, name),
            "patience": plan.setting(1_000_000, why="stop only at the threshold, never for lack of progress"),
        },
    )
    if trains:
        plan.note(name, _DIFFERENCE[values.program])


# How each variant's code differs from what the flag is meant to do.
_DIFFERENCE = {
    "main": "here training stops at it; upstream (090956e) forgets the best AUROC after each test and never stops, "
    "and for the same reason saves on every test",
    "tune": "here training stops at it; upstream ends the epoch and begins the next one",
    "ipex": "here training stops at it; upstream only prints that it would",
}


def _mlperf_logging(plan: Plan, trains: bool) -> None:
    values = plan.values
    if not values.on("--mlperf-logging"):
        return
    if not trains or values.program != "main":
        plan.note(
            "--mlperf-logging",
            "means AUROC, which is always computed; an MLPerf log is only written for training with main",
        )
        return
    arguments = {"path": plan.setting(f"runs/{run_name(plan)}/mlperf.log")}
    name, threshold = "--mlperf-auc-threshold", values.number("--mlperf-auc-threshold")
    if 0 < threshold < 1:
        arguments["auroc_threshold"] = plan.setting(threshold, name)
    else:
        plan.note(
            name, f"{threshold:g} is not a valid AUROC target: the MLPerf log states the target of the rules, 0.8025"
        )
    plan.callback("dlrm_pl.MLPerfLogging", arguments, "--mlperf-logging")
    plan.note("--mlperf-logging", "needs a package: pip install 'dlrm-pl[mlperf]'")


def training_commands(plan: Plan, checkpoint: str | None) -> None:
    """Append ``fit``, and the test that upstream runs at the end."""
    values = plan.values
    resumed = ["--ckpt_path", checkpoint] if checkpoint else []
    plan.run("fit", "-c", plan.config, *resumed)
    if checkpoint:
        plan.note(
            "--load-model",
            "training starts from these weights; upstream also restores the optimizer's state, continues after the "
            "batches already trained, and skips that many in every later epoch",
        )
    if values.program == "tune":
        plan.note(
            "dlrm_s_pytorch_tune.py", "without --tune, upstream trains on the test rows; here the train rows are used"
        )
    if tests_while_training(plan):
        directory, name = model_path(plan)
        comment = "On test, the rows that upstream tests on."
        plan.run("test", "-c", plan.config, "--ckpt_path", f"{directory}/{name}.ckpt", comment=comment)
