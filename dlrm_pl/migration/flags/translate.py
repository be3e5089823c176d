"""Translate an upstream command line to settings, commands and notes, or one error with everything that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.dataset import translate_dataset
from dlrm_pl.migration.flags.network import translate_network
from dlrm_pl.migration.flags.parse import parse
from dlrm_pl.migration.flags.pasted import Pasted, read_pasted, variables_of
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.migration.flags.quantization import (
    Task,
    artifact_folder,
    quantization_commands,
    task_of,
    translate_quantization,
)
from dlrm_pl.migration.flags.table import FLAGS, PROGRAMS
from dlrm_pl.migration.flags.torchrec.translate import is_of_torchrec, translate_torchrec
from dlrm_pl.migration.flags.training import training_commands, translate_training


def translate(words: Sequence[str], config: str) -> Plan:
    """Translate a command line of either program of upstream (facebookresearch/dlrm).

    Args:
        words: words as split by a shell, or a single word with the whole text.
        config: file name of the YAML, for the commands.

    Raises:
        ConfigurationError: upstream would not accept the command line; or parts of it cannot be translated, and the
            message names all of them, with reasons.
    """
    pasted = read_pasted(words)
    plan = translate_torchrec(pasted, config) if is_of_torchrec(pasted) else _translate_original(pasted, config)
    _note_reading(plan, pasted)
    _note_flags_without_effect(plan)
    if plan.refusals:
        raise ConfigurationError(_refusal(plan))
    _note_variables(plan)
    return plan


def _translate_original(pasted: Pasted, config: str) -> Plan:
    """Make the plan for a command line of ``dlrm_s_pytorch.py``, including its refusals."""
    values = parse(pasted.arguments, pasted.program)
    plan = Plan(values, config, pasted.processes, pasted.machines, pasted.environment)
    task = task_of(values)
    for name in values.given:
        if FLAGS[name].fate == "refused":
            plan.refuse(name, FLAGS[name].text)
    plan.set("seed_everything", values.integer("--numpy-rand-seed"), "--numpy-rand-seed")
    translate_network(plan)
    translate_dataset(plan)
    translate_training(plan, trains=task == "fit")
    translate_quantization(plan, task)
    _commands(plan, task)
    if plan.machines > 1:
        plan.note(f"{plan.machines} machines", "start the command on each, with --trainer.num_nodes")
    return plan


def _note_reading(plan: Plan, pasted: Pasted) -> None:
    if pasted.broken_line:
        plan.note(
            "a backslash followed by a space at the end of a line",
            "is read as if the command continued; a shell would end it there",
        )
    for words in pasted.ignored:
        plan.note(words, "is not part of the run, and was left out")
    for typed, name in plan.values.abbreviations.items():
        plan.note(typed, f"is read as {name}, as upstream does")
    for variable in plan.values.unread:
        plan.note(variable, "is a shell variable whose value is not known here. Replace it by its value")
    if plan.values.mixed:
        plan.note("all flags", "belong to no single variant; they are read as if one variant had them all")


def _commands(plan: Plan, task: Task) -> None:
    values = plan.values
    reference, checkpoint = values.text("--load-model"), None
    if reference:
        checkpoint = reference.removesuffix(".pt") + ".ckpt"
        data = plan.settings["data"]["folder"].value
        plan.run(
            "import-checkpoint",
            "--upstream",
            reference,
            "--output",
            checkpoint,
            "--data",
            data,
            *_not_in_the_file(plan),
            comment="Once, the weights of --load-model.",
        )
    elif task in ("test", "tune", "quantize"):
        flag = next(name for name in ("--tune", "--inference-only", "--accuracy_only") if values.on(name))
        plan.refuse(flag, "uses random weights without --load-model. Add --load-model=FILE.pt")
    elif task in ("benchmark", "verify"):
        plan.note("--load-model", f"without it, `{task}` has no fp32 model to compare with")
    if task == "fit":
        training_commands(plan, checkpoint)
    elif task == "test":
        flag = "--inference-only" if values.on("--inference-only") else "--accuracy_only"
        plan.run("test", "-c", plan.config, "--ckpt_path", checkpoint or "", comment=f"{flag}.")
    else:
        quantization_commands(plan, task, checkpoint)


def _not_in_the_file(plan: Plan) -> list[str]:
    """Return import options for what upstream does not save; a checkpoint takes precedence over the YAML."""
    model = {name: setting.value for name, setting in plan.settings["model"].items()}
    told = [] if model["interaction"] == "dot" else ["--interaction", model["interaction"]]
    told += ["--self_interaction", "true"] if model["self_interaction"] else []
    return told + (["--loss_threshold", str(model["loss_threshold"])] if model["loss_threshold"] else [])


def _note_flags_without_effect(plan: Plan) -> None:
    for name, flag in plan.values.flags.items():
        if name in plan.values.given and flag.fate == "no effect":
            trap = "; in upstream, any word after it means True, even False" if flag.kind == "bool" else ""
            plan.note(name, flag.text + trap)


def _note_variables(plan: Plan) -> None:
    """Handle shell variables, which YAML lacks: commands pass the dataset folder, and notes name all others."""
    folder = plan.settings["data"]["folder"].value
    if variables_of(folder):
        plan.commands = [
            replace(command, words=(*command.words, "--data.folder", folder)) if "-c" in command.words else command
            for command in plan.commands
        ]
    # The artifact folder is also an option of `quantize`, where the shell expands variables.
    trainer = str(plan.settings["trainer"])
    if "--tuned_checkpoint" in plan.values.flags:
        trainer = trainer.replace(artifact_folder(plan)[0], "")
    if others := variables_of(trainer):
        plan.note(
            ", ".join(others), "is written into the YAML, where shell variables have no meaning. Replace it by the path"
        )


def _refusal(plan: Plan) -> str:
    lines = [f"{name}: {reason}." for name, reason in plan.refusals]
    what = f"This command line (of {PROGRAMS[plan.values.program]}) cannot be translated:"
    return "\n  ".join([what, *lines])
