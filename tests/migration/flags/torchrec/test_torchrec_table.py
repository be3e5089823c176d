"""Every flag of dlrm_main.py is known, listed once, and has an effect; the lists were read from its two copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.render import render_commands, render_notes, render_yaml
from dlrm_pl.migration.flags.table import PROGRAMS, Flag
from dlrm_pl.migration.flags.torchrec.table import EVERY_FLAG, FLAGS
from dlrm_pl.migration.flags.translate import translate

ROOT = Path(__file__).parents[4]

BOTH = """
epochs batch_size drop_last_training_batch test_batch_size limit_train_batches limit_val_batches limit_test_batches
dataset_name num_embeddings num_embeddings_per_feature dense_arch_layer_sizes over_arch_layer_sizes embedding_dim
interaction_branch1_layer_sizes interaction_branch2_layer_sizes dcn_num_layers dcn_low_rank_dim seed pin_memory
mmap_mode in_memory_binary_criteo_path synthetic_multi_hot_criteo_path learning_rate shuffle_batches
shuffle_training_set validation_freq_within_epoch adagrad interaction_type collect_multi_hot_freqs_stats
multi_hot_sizes multi_hot_distribution_type lr_warmup_steps lr_decay_start lr_decay_steps print_lr allow_tf32
print_sharding_plan
"""
KNOWN = {
    "torchrec": BOTH + "undersampling_rate eps",
    "mlperf_v2": BOTH + "validation_auroc evaluate_on_epoch_end evaluate_on_training_end print_progress",
}
BASE = ["dlrm_main.py", "--in_memory_binary_criteo_path=days"]
ONES = ",".join(["1"] * 26)
# Non-default values for flags where a number would not do, and other flags that a flag needs.
WORDS = {
    "--interaction_type": "dcn",
    "--multi_hot_distribution_type": "pareto",
    "--dataset_name": "criteo_kaggle",
    "--num_embeddings_per_feature": ONES,
    "--multi_hot_sizes": ONES,
    "--dense_arch_layer_sizes": "4,8",
    "--over_arch_layer_sizes": "4,1",
}


def outcome(words: list[str]) -> set[str]:
    """Return all lines that a user reads."""
    try:
        plan = translate(words, "run.yaml")
    except ConfigurationError as error:
        return set(str(error).splitlines())
    return set((render_yaml(plan) + render_commands(plan) + render_notes(plan)).splitlines())


def sample(flag: Flag) -> str:
    """Return the flag with a value that is not its default."""
    if flag.kind == "switch":
        return flag.name
    values = {"int": "2", "float": "0.25", "str": "word", "commas": "13,6"}
    return f"{flag.name}={WORDS.get(flag.name, values[flag.kind])}"


@pytest.mark.parametrize("program", KNOWN)
def test_flags_of_a_program_are_those_that_it_declares(program: str) -> None:
    names = {f"--{name}" for name in KNOWN[program].split()}
    assert {name for name, flag in FLAGS.items() if program in flag.programs} == names
    assert len(EVERY_FLAG) == len(FLAGS) == 43


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_says_something(name: str) -> None:
    """A value with the flag beside it, a note, or a refusal: no flag is ignored silently."""
    new = outcome([*BASE, sample(FLAGS[name])]) - outcome(BASE)
    assert any(name in line for line in new), new


@pytest.mark.parametrize("name", [flag.name for flag in EVERY_FLAG if flag.fate == "no effect"])
def test_flag_without_effect_changes_neither_yaml_nor_commands(name: str) -> None:
    flag = FLAGS[name]
    # If only one copy knows the flag, add another flag of the same copy.
    chooser = ["--evaluate_on_training_end"] if flag.programs == {"mlperf_v2"} else []
    base, plan = translate([*BASE, *chooser], "run.yaml"), translate([*BASE, *chooser, sample(flag)], "run.yaml")
    assert (render_yaml(plan), render_commands(plan)) == (render_yaml(base), render_commands(base))
    assert any(name in shown for shown, _ in plan.notes)


def flag_table() -> str:
    """Return all flags and their treatment as the rows of a Markdown table."""
    lines = ["| flag | default | known to | | |", "|---|---|---|---|---|"]
    for flag in EVERY_FLAG:
        known = ", ".join(program for program in PROGRAMS if program in flag.programs)
        default = "off" if flag.kind == "switch" else "" if flag.default is None else f"`{flag.default}`"
        lines.append(f"| `{flag.name}` | {default} | {known} | {flag.fate} | {flag.text} |")
    return "\n".join(lines) + "\n"


def test_document_has_the_table() -> None:
    assert flag_table() in (ROOT / "docs" / "upstream_flags.md").read_text()
