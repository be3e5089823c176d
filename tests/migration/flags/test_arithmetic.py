"""Arithmetic in a pasted command line has the values that a shell computes."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.migration.flags.arithmetic import with_numbers
from tests.support.examples import examples

NAMES = {"TOTAL": 4195197692, "BATCH": 65536, "W": 8}
ASSIGNED = "".join(f"export {name}={value} ;\n" for name, value in NAMES.items())

TERMS = st.recursive(
    st.one_of(st.integers(0, 999).map(str), st.sampled_from([*NAMES, "$W", "${BATCH}"])),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=examples(25))
@given(TERMS)
def test_values_are_those_of_bash(expression: str) -> None:
    text = f"{ASSIGNED}echo $(({expression}))"
    shell = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    found, _ = with_numbers(text)
    if shell.returncode == 0 and "$((" not in found:
        assert found.splitlines()[-1] == f"echo {shell.stdout.strip()}"
    elif shell.returncode:
        assert "$((" in found  # A division by 0.


def test_the_usual_expressions_are_computed_and_their_names_told() -> None:
    found, used = with_numbers(f"{ASSIGNED}x --a $((TOTAL / (BATCH * 20))) --b $(( $BATCH / ${{W}} )) --c $((7 % 4))")
    assert found.splitlines()[-1] == "x --a 3200 --b 8192 --c 3"
    assert used == {"TOTAL", "BATCH", "W"}


@pytest.mark.parametrize(
    "expression", ["X + 1", "W / 0", "W ** 9", "W << 3", "__import__('os')", "W, W", "1.5 * W", "W / (", "9" * 400]
)
def test_what_is_not_known_stays_one_word(expression: str) -> None:
    found, used = with_numbers(f"{ASSIGNED}x --a $(({expression})) --b")
    word = "".join(expression.split())
    assert found.splitlines()[-1] in (f"x --a $(({word})) --b", f"x --a $(({expression})) --b")
    assert used == set()


def test_numbers_that_are_set_later_do_not_count() -> None:
    assert with_numbers("x --a $((W / 2)) ; W=8")[0] == "x --a $((W/2)) ; W=8"
