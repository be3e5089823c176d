"""Command lines as people paste them: prompts of launchers, variables, quotes, broken lines, pipes."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.flags.pasted import read_pasted, variables_of


def test_words_of_a_shell_are_taken_as_they_are() -> None:
    pasted = read_pasted(["python", "-u", "dir/dlrm_s_pytorch.py", "--arch-mlp-bot=13-2", "--save-model", "a b.pt"])
    assert pasted.program == "dlrm_s_pytorch.py"
    assert pasted.arguments == ["--arch-mlp-bot=13-2", "--save-model", "a b.pt"]
    assert pasted.ignored == []


def test_text_is_split_as_a_shell_would() -> None:
    text = "python dlrm_s_pytorch.py --arch-mlp-bot=\"13-2\" \\\n  --save-model 'a b.pt' --x=${data_path}/day\n"
    assert read_pasted([text]).arguments == ["--arch-mlp-bot=13-2", "--save-model", "a b.pt", "--x=${data_path}/day"]


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=8), max_size=6))
def test_text_of_quoted_words_gives_the_words(values: list[str]) -> None:
    # Variables are left to the user's shell, so quoted and unquoted ones are treated alike.
    words = ["python", "dlrm_s_pytorch.py", *(f"--flag={value}" for value in values)]
    assert read_pasted([shlex.join(words)]).arguments == words[2:]


@pytest.mark.parametrize(
    "text", ["--a=1 --b", "dlrm_s_pytorch.py --a=1 --b", "python3.8 -u ./dlrm_s_pytorch.py --a=1 --b"]
)
def test_what_stands_before_the_flags_may_be_missing(text: str) -> None:
    assert read_pasted([text]).arguments == ["--a=1", "--b"]
    assert read_pasted(shlex.split(text)).arguments == ["--a=1", "--b"]


def test_a_backslash_before_a_blank_is_read_as_a_continuation_in_text_and_said() -> None:
    pasted = read_pasted(["python dlrm_s_pytorch.py --a=1 \\ \n  --b=2 \\\n --c"])
    assert pasted.arguments == ["--a=1", "--b=2", "--c"]
    assert pasted.broken_line
    assert not read_pasted(["python dlrm_s_pytorch.py --a=1 \\\n  --b=2"]).broken_line


def test_a_command_that_a_shell_cut_at_such_a_backslash_is_refused() -> None:
    # `... --a=1 \ ` and a line end: the shell makes a word of the space, and the rest is another command.
    with pytest.raises(ConfigurationError, match=r"ends after '--a=1', at a backslash followed by a space"):
        read_pasted(["python", "dlrm_s_pytorch.py", "--a=1", " "])


def test_lines_of_flags_belong_together_without_backslashes() -> None:
    assert read_pasted(["python dlrm_s_pytorch.py --a=1\n   --b=2\n   --c"]).arguments == ["--a=1", "--b=2", "--c"]


def test_assignments_are_kept_or_put_into_the_arguments() -> None:
    lines = [
        "data_path=/data/criteo",
        "export OMP_NUM_THREADS=4; KMP_BLOCKTIME=1 python dlrm_s_pytorch.py --x=${data_path}/day",
    ]
    pasted = read_pasted(["\n".join(lines)])
    assert pasted.arguments == ["--x=/data/criteo/day"]
    assert pasted.environment == {"OMP_NUM_THREADS": "4", "KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("python -m torch.distributed.launch --nproc_per_node=8", 8),
        ("torchrun --nproc-per-node 4", 4),
        ("mpirun -np 2 python", 2),
        ("mpirun -n 3 python", 3),
        ("python", None),
        ("torchrun --nproc_per_node=²", None),
        ("torchrun --nproc_per_node=" + "9" * 5000, None),
    ],
)
def test_processes_of_a_launcher_are_counted(launcher: str, processes: int | None) -> None:
    pasted = read_pasted([f"{launcher} dlrm_s_pytorch.py --a=1"])
    assert pasted.processes == processes
    assert pasted.arguments == ["--a=1"]


@pytest.mark.parametrize(
    ("tail", "ignored"),
    [
        ("2>&1 | tee run.log", "2 >& 1 | tee run.log"),
        ("> run.log &", "> run.log &"),
        ("&& echo done", "&& echo done"),
        ("# my best run", "# my best run"),
        ("\necho done", "echo done"),
    ],
)
def test_what_follows_the_command_is_left_out_and_said(tail: str, ignored: str) -> None:
    pasted = read_pasted([f"cd dlrm\npython dlrm_s_pytorch.py --a=1 {tail}"])
    assert pasted.arguments == ["--a=1"]
    assert pasted.ignored == ["cd dlrm", ignored]


@pytest.mark.parametrize("words", [[], [" "], ["\n\n "]])
def test_nothing_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="No upstream command line"):
        read_pasted(words)


def test_open_quote_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"No closing quotation.*--a="):
        read_pasted(["python dlrm_s_pytorch.py --a='13"])


def test_variables_are_found_in_both_spellings() -> None:
    assert variables_of("${data_path}/day $x ${data_path}") == ["${data_path}", "$x"]
