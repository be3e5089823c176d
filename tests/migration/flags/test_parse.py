"""Flags are read as upstream's argparse reads them."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.parse import parse
from dlrm_pl.migration.flags.table import FLAGS, Flag, Program, flags_of

TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "ints": str, "floats": str}


def argparse_of(program: Program) -> argparse.ArgumentParser:
    """Return the parser of a script with these flags; abbreviations are left to argparse."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for flag in flags_of(program).values():
        names = [flag.name, *([flag.short] if flag.short else [])]
        if flag.kind == "switch":
            parser.add_argument(*names, action="store_true")
        else:
            parser.add_argument(*names, type=TYPES[flag.kind], default=flag.default)
    return parser


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[Program, list[str]]:
    """Generate some flags of one program, abbreviated where unambiguous, with values in both forms."""
    program: Program = draw(st.sampled_from(["main", "tune", "ipex"]))
    flags = flags_of(program)
    words = []
    for name in draw(st.lists(st.sampled_from(sorted(flags)), max_size=8)):
        clear = [end for end in range(3, len(name)) if sum(flag.startswith(name[:end]) for flag in flags) == 1]
        typed = name[: draw(st.sampled_from([*clear, len(name)]))]
        flag = flags[name]
        if flag.kind == "switch":
            words.append(typed)
            continue
        value = draw(value_of(flag))
        words += [f"{typed}={value}"] if draw(st.booleans()) or value.startswith("-") else [typed, value]
    return program, words


def value_of(flag: Flag) -> st.SearchStrategy[str]:
    if flag.kind == "int":
        return st.integers(-5, 10**9).map(str)
    if flag.kind == "float":
        return st.floats(-10, 10).map(str)
    if flag.kind in ("ints", "floats"):
        return st.lists(st.integers(1, 99).map(str), min_size=1, max_size=4).map("-".join)
    if flag.choices:
        return st.sampled_from(flag.choices)
    return st.sampled_from(["True", "False", "word", "a/b.npz", "0"])


@pytest.mark.untraced
@given(command_lines())
def test_values_are_those_of_argparse(case: tuple[Program, list[str]]) -> None:
    program, words = case
    if program == "ipex":
        words = [*words, "--ipex-interaction"]  # Only this tells it from the main script of the same name.
    expected = vars(argparse_of(program).parse_args(words))
    read = parse(words, "dlrm_s_pytorch_tune.py" if program == "tune" else "dlrm_s_pytorch.py")
    for name in flags_of(program):
        value = expected[name.lstrip("-").replace("-", "_")]
        assert read.by_name[name] == value, name


def test_abbreviation_is_taken_as_argparse_does_and_kept() -> None:
    read = parse(["--learning=0.5", "--mini", "7"], "dlrm_s_pytorch.py")
    assert (read.number("--learning-rate"), read.integer("--mini-batch-size")) == (0.5, 7)
    assert read.abbreviations == {"--learning": "--learning-rate", "--mini": "--mini-batch-size"}


def test_beginning_of_several_flags_is_refused_with_all_of_them() -> None:
    with pytest.raises(
        ConfigurationError, match="--arch-mlp: is ambiguous: it could be --arch-mlp-bot or --arch-mlp-top"
    ):
        parse(["--arch-mlp=13-2"], "dlrm_s_pytorch.py")


def test_abbreviation_that_one_variant_alone_has_clear_chooses_it() -> None:
    assert parse(["--tu"]).program == "ipex"  # LPOT's script also has --tuned_checkpoint.


def test_exact_name_wins_over_longer_ones() -> None:
    read = parse(["--num-indices-per-lookup=3"], "dlrm_s_pytorch.py")
    assert read.given == {"--num-indices-per-lookup"}


def test_all_unknown_flags_are_named_with_close_ones() -> None:
    with pytest.raises(ConfigurationError) as error:
        parse(["--mini_batch_size=3", "--learnin-rat=1", "--zzz", "-q"], "dlrm_s_pytorch.py")
    text = str(error.value)
    assert "--mini_batch_size: did you mean --mini-batch-size" in text
    assert "--learnin-rat: did you mean --learning-rate" in text
    assert "--zzz: not a flag of any variant" in text
    assert "-q: not a flag of any variant" in text


@pytest.mark.parametrize(
    ("words", "script", "program"),
    [
        (["--tune"], "dlrm_s_pytorch_tune.py", "tune"),
        (["--learning-rate=1"], "dlrm_s_pytorch_tune.py", "tune"),
        (["--learning-rate=1"], "dlrm_s_pytorch.py", "main"),
        (["--learning-rate=1"], "", "main"),
        (["--optimizer=sgd"], "dlrm_s_pytorch_tune.py", "main"),
        (["--tune", "--mlperf-logging"], "dlrm_s_pytorch.py", "tune"),
        (["--tune", "--ipex-interaction"], "dlrm_s_pytorch.py", "ipex"),
        (["-i", "5"], "", "tune"),
    ],
)
def test_program_is_the_first_that_knows_all_flags(words: list[str], script: str, program: str) -> None:
    read = parse(words, script)
    assert (read.program, read.mixed) == (program, False)


def test_flags_of_two_programs_together_are_read_and_marked() -> None:
    read = parse(["--do-int8-inference", "--optimizer=adagrad"], "dlrm_s_pytorch.py")
    assert read.mixed
    assert read.text("--optimizer") == "adagrad"
    assert read.on("--do-int8-inference")


@pytest.mark.parametrize("text", ["False", "0", "no"])
def test_any_word_is_true_where_the_reference_has_type_bool(text: str) -> None:
    assert parse([f"--round-targets={text}"]).by_name["--round-targets"] is True
    assert parse(["--round-targets="]).by_name["--round-targets"] is False


def test_variable_in_the_place_of_flags_is_kept_to_be_said() -> None:
    read = parse(["--nepochs", "3", "$more", "--save-model", "${there}"])
    assert read.unread == ("$more",)
    assert read.text("--save-model") == "${there}"


def test_last_of_two_values_counts() -> None:
    assert parse(["--nepochs=2", "--nepochs=5"]).integer("--nepochs") == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nepochs=two"], "--nepochs: 'two' is not a whole number"),
        (["--nepochs=${N}"], "replace the variable"),
        (["--learning-rate=x"], "'x' is not a number"),
        (["--arch-mlp-bot=13,2"], "'13,2' is not whole numbers, separated by dashes"),
        (["--memory-map=True"], "ignored explicit argument 'True'"),
        (["--save-model"], "expected one argument"),
        (["--arch-interaction-op=sum"], "invalid choice: 'sum'"),
        (["--nepochs=1", "again"], "'again' is neither a flag nor the value of a flag"),
    ],
)
def test_value_that_the_reference_would_not_take_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse(words, "dlrm_s_pytorch.py")
    assert message in str(error.value)


def test_script_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"dlrm_s_caffe2\.py is not one of upstream's scripts"):
        parse([], "dlrm_s_caffe2.py")


def test_defaults_are_those_of_the_reference() -> None:
    read = parse([])
    assert read.by_name == {name: flag.default for name, flag in FLAGS.items()}
    assert read.number("--learning-rate") == 0.01
    assert read.text("--loss-function") == "mse"
    assert read.integer("--mini-batch-size") == 1
    assert read.integers("--arch-mlp-bot") == [4, 3, 2]
