"""YAML with limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.documents.yaml_text import MAX_BYTES, MAX_VALUES, read_yaml
from dlrm_pl.errors import ConfigurationError

# Ten lines with ten references each to the previous line: 10^10 values.
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{line}: &a{line} [{', '.join([f'*a{line - 1}'] * 10)}]\n" for line in range(1, 11)
)


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, ConfigurationError, "Write it anew.")


def test_aliases_and_merges_are_read(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: [x, 2.5]}\nother:\n  <<: *base\n  a: 2\nlist: [*base, *base]\n"
    base = {"a": 1, "b": ["x", 2.5]}
    assert read(tmp_path, text) == {"base": base, "other": base | {"a": 2}, "list": [base, base]}
    assert read(tmp_path, "two: {<<: {a: 1}, <<: {b: 2}}\n1: a\n'1': a\n") == {
        "two": {"a": 1, "b": 2},
        1: "a",
        "1": "a",
    }
    assert read(tmp_path, "") is None


def test_as_many_values_as_are_allowed_are_read(tmp_path: Path) -> None:
    assert len(read(tmp_path, "- 1\n" * (MAX_VALUES - 2))) == MAX_VALUES - 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "line 5: more than 10,000 values, counting all values that the aliases stand for"),
        ("- 1\n" * (MAX_VALUES + 1), "line 10000: more than 10,000 values"),
        ("a: [1]\nb: " + "[" * 80 + "]" * 80, "line 2: nested deeper than 64"),
        ("a: " + "[" * 5000, "nesting depth"),
        ("".join("  " * line + "a:\n" for line in range(80)), "line 63: nested deeper than 64"),
        # Each alias is nested five deep in the next one's value.
        (
            "- &a0 [[[[[x]]]]]\n" + "".join(f"- &a{n} [[[[[*a{n - 1}]]]]]\n" for n in range(1, 20)),
            "line 13: nested deeper than 64",
        ),
        ("\na: &a [*a]", r"line 2: the alias \*a refers to no earlier anchor, or to a value that encloses it"),
        ("a: [*b]", r"the alias \*b refers to no earlier anchor|undefined alias"),
        ("\na: " + "9" * 5000, "line 2: a number of 5,000 digits"),
        ("\na: 0x" + "f" * 5000, "line 2: a number of 5,002 digits"),
        ("a: 2001-99-99", "an invalid value: month must be in 1..12"),
        ("a: !!bool x", "an invalid value: 'x'"),
        ("a: !!timestamp x", "an invalid value: "),
        ("a: !!python/name:os.system 3", "line 1, column 4: could not determine a constructor"),
        ("a: [", "line 2, column 1: did not find expected node content|line 1, column 5"),
        ("a: 1\nb:\n  c: 1\n  d: {c: 2}\n  'c': 3", r"line 5: the key 'c' occurs twice, first on line 3"),
        ("{a: [{b: 1, b: 2}]}", r"line 1: the key 'b' occurs twice, first on line 1"),
        ("? [a]\n: 1\nb: 2\n? {b: 1}\n: b\nb: 3", r"line 6: the key 'b' occurs twice, first on line 3"),
        ("a: \x01", "control characters|special characters"),
        ("#" * (MAX_BYTES + 1), "more than 1,048,576 bytes"),
    ],
)
def test_what_is_beyond_the_limits_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?s)^{tmp_path}/a\.yaml: .*{reason}.* Write it anew\.$") as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 400


def test_tags_of_another_program_stand_before_mappings(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: !Thing {b: [1]}\n")
    assert read_yaml(path, ConfigurationError, "Write it anew.", tags=["!Thing"]) == {"a": {"b": [1]}}
    path.write_text("a:\n  !Thing 3\n")
    with pytest.raises(ConfigurationError, match="line 2: !Thing must be followed by a mapping"):
        read_yaml(path, ConfigurationError, "Write it anew.", tags=["!Thing"])
