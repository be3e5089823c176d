"""Every flag of upstream is known, listed once, and has an effect; the lists were read from the three programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.render import render_commands, render_notes, render_yaml
from dlrm_pl.migration.flags.table import EVERY_FLAG, FLAGS, PROGRAMS, Flag, flags_of
from dlrm_pl.migration.flags.translate import translate

ROOT = Path(__file__).parents[3]

SHARED = """
arch-sparse-feature-size arch-embedding-size arch-mlp-bot arch-mlp-top activation-function loss-threshold
round-targets num-batches data-set raw-data-file processed-data-file data-randomize max-ind-range
data-sub-sample-rate memory-map mini-batch-size nepochs learning-rate print-precision numpy-rand-seed inference-only
print-freq test-freq test-mini-batch-size print-time enable-profiling save-model load-model mlperf-auc-threshold
mlperf-bin-loader mlperf-bin-shuffle
"""
MAIN_AND_TUNE = """
arch-interaction-op arch-interaction-itself md-flag md-threshold md-temperature md-round-dims qr-flag qr-threshold
qr-operation qr-collisions loss-function loss-weights data-size data-generation data-trace-file
data-trace-enable-padding num-indices-per-lookup num-indices-per-lookup-fixed num-workers sync-dense-params save-onnx
use-gpu test-num-workers debug-mode plot-compute-graph mlperf-logging mlperf-acc-threshold
"""
MAIN_AND_IPEX = """
dataset-multiprocessing dist-backend print-wall-time lr-num-warmup-steps lr-decay-start-step lr-num-decay-steps
"""
TUNE_AND_IPEX = "tune benchmark int8"
MAIN_ALONE = """
weighted-pooling rand-data-dist rand-data-min rand-data-max rand-data-mu rand-data-sigma optimizer
quantize-mlp-with-bit quantize-emb-with-bit local_rank tensor-board-filename mlperf-grad-accum-iter
"""
TUNE_ALONE = "do-int8-inference per-tensor-linear save-int8 output-model iter warmup_iter tuned_checkpoint"
IPEX_ALONE = """
print-auc should-test bf16 share-weight-instance num-cpu-cores ipex-interaction ipex-merged-emb num-warmup-iters
int8-configure accuracy_only
"""
KNOWN = {
    "main": SHARED + MAIN_AND_TUNE + MAIN_AND_IPEX + MAIN_ALONE,
    "tune": SHARED + MAIN_AND_TUNE + f" {TUNE_AND_IPEX} {TUNE_ALONE}",
    "ipex": SHARED + MAIN_AND_IPEX + f" {TUNE_AND_IPEX} {IPEX_ALONE}",
}
COUNTS = {"main": 76, "tune": 68, "ipex": 50}

BASE = {
    "main": ["dlrm_s_pytorch.py", "--data-generation=dataset", "--raw-data-file=d/day"],
    "tune": ["dlrm_s_pytorch_tune.py", "--data-generation=dataset", "--raw-data-file=d/day"],
    "ipex": ["dlrm_s_pytorch.py", "--raw-data-file=d/day", "--ipex-interaction"],
}
# Non-default values for flags where a number would not do.
WORDS = {
    "--arch-interaction-op": "cat",
    "--weighted-pooling": "learned",
    "--loss-function": "bce",
    "--data-generation": "random",
    "--data-set": "terabyte",
    "--data-randomize": "day",
    "--optimizer": "adagrad",
    "--dist-backend": "gloo",
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
    values = {"int": "3", "float": "0.25", "str": "word", "bool": "False", "ints": "13-6-2", "floats": "1.0-2.0"}
    return f"{flag.name}={WORDS.get(flag.name, values[flag.kind])}"


@pytest.mark.parametrize("program", KNOWN)
def test_flags_of_a_program_are_those_that_it_declares(program: str) -> None:
    names = {f"--{name}" for name in KNOWN[program].split()}
    assert len(names) == COUNTS[program]
    assert set(flags_of(program)) == names  # type: ignore[arg-type]


def test_every_flag_is_classified_once() -> None:
    assert len(EVERY_FLAG) == len(FLAGS) == 96
    assert {flag.fate for flag in EVERY_FLAG} == {"mapped", "refused", "no effect"}


@pytest.mark.parametrize("program", KNOWN)
def test_every_flag_says_something(program: str) -> None:
    """A value with the flag beside it, a note, or a refusal: no flag is ignored silently."""
    before = outcome(BASE[program])
    for name, flag in flags_of(program).items():  # type: ignore[arg-type]
        if name == "--ipex-interaction":
            continue  # It distinguishes the IPEX variant from the others; the next test covers it.
        new = outcome([*BASE[program], sample(flag)]) - before
        assert any(name in line for line in new), (name, new)


@pytest.mark.parametrize("name", [flag.name for flag in EVERY_FLAG if flag.fate == "no effect"])
def test_flag_without_effect_changes_neither_yaml_nor_commands(name: str) -> None:
    flag = FLAGS[name]
    program = next(iter(sorted(flag.programs)))
    base = translate(BASE[program], "run.yaml")
    plan = translate([*BASE[program], sample(flag)], "run.yaml")
    assert (render_yaml(plan), render_commands(plan)) == (render_yaml(base), render_commands(base))
    assert any(name in shown for shown, _ in plan.notes)


@pytest.mark.parametrize("name", [flag.name for flag in EVERY_FLAG if flag.fate == "refused"])
def test_refused_flag_is_named_with_its_reason(name: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        translate([*BASE["main"], name], "run.yaml")
    assert f"{name}: {FLAGS[name].text}." in str(error.value)


def flag_table() -> str:
    """Return all flags and their treatment as the rows of a Markdown table."""
    lines = ["| flag | default | known to | | |", "|---|---|---|---|---|"]
    for flag in EVERY_FLAG:
        known = ", ".join(program for program in PROGRAMS if program in flag.programs)
        default = "off" if flag.kind == "switch" else "" if flag.default in (None, "") else f"`{flag.default}`"
        names = f"`{flag.name}`" + (f", `{flag.short}`" if flag.short else "")
        lines.append(f"| {names} | {default} | {known} | {flag.fate} | {flag.text} |")
    return "\n".join(lines) + "\n"


def test_document_has_the_table() -> None:
    assert flag_table() in (ROOT / "docs" / "upstream_flags.md").read_text()
