"""Flags of quantization and of its benchmark -> the QuantizationCallback, ``quantize``, ``benchmark``, ``verify``."""

from __future__ import annotations

from typing import Any, Literal

from dlrm_pl.migration.flags.dataset import dataset_folder
from dlrm_pl.migration.flags.parse import Values
from dlrm_pl.migration.flags.pasted import variables_of
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.migration.flags.training import run_name

Task = Literal["fit", "test", "verify", "tune", "quantize", "benchmark"]

_MLP, _EMBEDDINGS = "--quantize-mlp-with-bit", "--quantize-emb-with-bit"
_LINEARS = {8: "int8", 16: "bf16", 32: "fp32"}
_TABLES = {4: "int4", 8: "int8", 32: "fp32"}
_CALLBACK = "dlrm_pl.QuantizationCallback"


def task_of(values: Values) -> Task:
    """Return what the command line does, by the order in which upstream checks its flags."""
    infers = values.on("--inference-only")
    if values.on("--tune"):
        return "tune"
    if values.on("--benchmark"):
        return "benchmark"
    if infers or values.on("--accuracy_only"):
        if values.integer("--share-weight-instance"):
            return "benchmark"
        if values.on("--do-int8-inference") or (values.integer(_MLP), values.integer(_EMBEDDINGS)) != (32, 32):
            return "quantize" if infers else "test"
        return "verify" if values.program == "ipex" and values.on("--int8") else "test"
    return "fit"


def artifact_folder(plan: Plan) -> tuple[str, str | None]:
    """Return the int8 model's folder, and the flag that states it."""
    values = plan.values
    if values.program == "ipex" and values.text("--save-model"):
        return values.text("--save-model"), "--save-model"
    by_hand = values.on("--do-int8-inference") and not (values.on("--tune") or values.on("--benchmark"))
    if by_hand and values.text("--save-int8"):
        return values.text("--save-int8").removesuffix(".pt"), "--save-int8"
    if (values.program == "tune" and not by_hand) or "--tuned_checkpoint" in values.given:
        return values.text("--tuned_checkpoint"), "--tuned_checkpoint"
    return f"artifacts/{run_name(plan)}", None


def translate_quantization(plan: Plan, task: Task) -> None:
    """Append the QuantizationCallback if the task quantizes; otherwise note what the flags mean without it."""
    if task in ("tune", "quantize"):
        _callback(plan, task)
    _say_what_is_ignored(plan, task)


def _callback(plan: Plan, task: Task) -> None:
    values = plan.values
    folder, flag = artifact_folder(plan)
    arguments: dict[str, Any] = {"output": plan.setting(folder, *([flag] if flag else []))}
    recipe: dict[str, Any]
    if task == "tune":
        recipe = {"linears": plan.setting("int8"), "tables": plan.setting("fp32")}
        arguments["recipe"] = recipe
        arguments["criterion"] = {"relative": plan.setting(0.01, why="the AUROC may drop by 1 %, as in its conf.yaml")}
        arguments["strategy"] = plan.setting("basic")
        arguments["timeout_s"] = plan.setting(0.0, why="stop at the first recipe that is accepted")
        arguments["seed"] = plan.setting(9527, why="random_seed of its conf.yaml")
        plan.callback(_CALLBACK, arguments, "--tune")
        _tune_notes(plan)
        return
    if values.program == "main":
        recipe = _recipe_of_bits(plan)
        plan.note(
            f"{_MLP}, {_EMBEDDINGS}",
            "upstream recomputes the activation ranges for each batch, while here they are calibrated on val; "
            "upstream does not compare with fp32, while here exit status 3 means that the AUROC drops by more than 1 "
            "%, and 4 that test has too few rows to tell",
        )
    else:
        recipe = {
            "linears": plan.setting("int8", "--do-int8-inference"),
            "tables": plan.setting("fp32"),
            "weight_granularity": plan.setting("per_tensor", why="like its default_weight_observer"),
        }
        plan.note(
            "--do-int8-inference",
            "calibrates on test rows in upstream, and on val here; exit status 3 means that the AUROC drops by more "
            "than 1 %, and 4 that test has too few rows to tell",
        )
    arguments["recipe"] = recipe
    arguments["criterion"] = {"relative": plan.setting(0.01, why="upstream has none")}
    arguments["max_trials"] = plan.setting(1, why="only this recipe, as in upstream")
    plan.callback(_CALLBACK, arguments)


def _recipe_of_bits(plan: Plan) -> dict[str, Any]:
    values = plan.values
    recipe: dict[str, Any] = {}
    for name, flag, dtypes in (("linears", _MLP, _LINEARS), ("tables", _EMBEDDINGS, _TABLES)):
        bits = values.integer(flag)
        recipe[name] = plan.setting(dtypes.get(bits, "fp32"), flag)
        if bits not in dtypes:
            plan.refuse(flag, f"must be {', '.join(map(str, dtypes))}; upstream stops as well")
    if values.integer(_MLP) == 16:
        plan.note(_MLP, "weights are float16 in upstream and bfloat16 here, which processors multiply faster")
    if values.on("--use-gpu"):
        plan.note("--use-gpu", "quantized models run on the CPU, as in upstream")
    recipe["interaction"] = plan.setting("fp32", why="as there")
    return recipe


def _tune_notes(plan: Plan) -> None:
    values = plan.values
    plan.note(
        "--tune",
        "calibrates on test rows in upstream; here it calibrates on val and certifies on test; exit status 3: no "
        "model was within 1 %, 4: test has too few rows to tell; the best one is saved",
    )
    if values.program == "ipex" and not values.on("--inference-only"):
        plan.note("--tune", "needs --inference-only in upstream")


def _say_what_is_ignored(plan: Plan, task: Task) -> None:
    _note_ignored_quantization(plan, task)
    _note_ignored_timing(plan, task)
    values = plan.values
    if values.on("--accuracy_only") and task != "test":
        plan.note("--accuracy_only", "has no effect in upstream: another flag ends the run first")
    if values.on("--inference-only") and task in ("tune", "benchmark"):
        plan.note("--inference-only", f"makes no difference: --{task} ends the run")


def _note_ignored_quantization(plan: Plan, task: Task) -> None:
    """Name the flags of quantization that upstream would ignore."""
    values = plan.values
    for name in (_MLP, _EMBEDDINGS):
        if name in values.given and task != "quantize":
            plan.note(name, "is ignored by upstream without --inference-only")
    if values.on("--int8"):
        plan.note("--int8", _int8_note(values, task))
    quantizes_at_once = task == "quantize" and values.on("--inference-only")
    if values.on("--do-int8-inference") and task != "benchmark" and not quantizes_at_once:
        plan.note(
            "--do-int8-inference", "is ignored by upstream with --tune, and without --inference-only or --benchmark"
        )
    if "--save-int8" in values.given and not (task == "quantize" and values.on("--do-int8-inference")):
        plan.note("--save-int8", "only saves in upstream with --do-int8-inference and --inference-only")
    if "--tuned_checkpoint" in values.given and task not in ("tune", "benchmark"):
        plan.note("--tuned_checkpoint", "is only used by upstream with --tune and --benchmark")


def _note_ignored_timing(plan: Plan, task: Task) -> None:
    """Name the flags of the benchmark that upstream would ignore, or that mean less here."""
    values = plan.values
    if values.on("--benchmark") and task == "tune":
        plan.note("--benchmark", "upstream ends after --tune; here it is the last command")
    if values.integer("--num-cpu-cores") and not _benchmarks(values, task):
        plan.note("--num-cpu-cores", "limits the threads of int8 inference in upstream; here `benchmark` has --threads")
    if values.integer("--share-weight-instance"):
        plan.note(
            "--share-weight-instance",
            (
                "times that many concurrent callers in upstream; `benchmark` times one, or MLPerf's scenarios with "
                "--mlperf server"
            )
            if task == "benchmark"
            else "times only inference, but there is none",
        )


def _int8_note(values: Values, task: Task) -> str:
    if task == "benchmark" and values.program == "tune" and not values.on("--do-int8-inference"):
        return (
            "is parsed by upstream, but fp32 was benchmarked (until LPOT 1.13); here the artifact is timed "
            "together with fp32"
        )
    if task == "benchmark":
        return "the artifact is timed together with fp32"
    if task == "verify":
        return "the int8 model of --save-model is scored on test: `verify` does, and compares with its certificate"
    if task == "tune":
        return "is ignored by upstream with --tune, which makes the int8 model"
    return "is only used by upstream with --benchmark"


def _benchmarks(values: Values, task: Task) -> bool:
    return task == "benchmark" or (task == "tune" and values.on("--benchmark"))


def quantization_commands(plan: Plan, task: Task, checkpoint: str | None) -> None:
    """Append ``quantize``, ``benchmark`` or ``verify``."""
    values = plan.values
    folder, _ = artifact_folder(plan)
    data = dataset_folder(values)
    weights = ["--ckpt_path", checkpoint] if checkpoint else []
    if task in ("tune", "quantize"):
        output = ["--output", folder] if variables_of(folder) else []
        comment = "Quantizes, and certifies the result on test, once."
        plan.run("quantize", "-c", plan.config, *weights, *output, comment=comment)
    if _benchmarks(values, task):
        tested = values.integer("--test-mini-batch-size")
        batch = tested if tested >= 0 else values.integer("--mini-batch-size")
        cores = values.integer("--num-cpu-cores")
        threads = ["--threads", f"[{cores}]"] if cores > 0 else []
        made = (
            ""
            if task == "tune"
            else f" {folder} is the artifact that `quantize` made from the command line with --tune."
        )
        flag = "--benchmark" if values.on("--benchmark") else "--share-weight-instance"
        comment = f"{flag}: fp32 and int8 in turn.{made}"
        batches = ["--batch_sizes", f"[{batch}]"]
        plan.run("benchmark", "--artifact", folder, *weights, "--data", data, *batches, *threads, comment=comment)
    if task == "verify":
        plan.run("verify", "--artifact", folder, "--data", data, *weights, comment="--int8: scores it on test.")
