"""JSON with limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.documents.json_text import MAX_DEPTH, parse_json, read_json
from dlrm_pl.errors import ArtifactError


def parse(text: str | bytes) -> object:
    return parse_json(text, "x.json", ArtifactError, "Quantize again.")


def test_what_json_writes_is_read() -> None:
    text = '{"a": [1, -2.5e3, "\\u00e9", true, null, {"b": {}}]}'
    assert parse(text) == {"a": [1, -2500.0, "é", True, None, {"b": {}}]}
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n"a": }', r"line 2, column 6: Expecting value"),
        ("[" * 1_000_000, "nested deeper than 64"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ('{"a": {"b": [0, NaN]}}', r"a\.b\.1 is nan, which is not a JSON number"),
        ("-Infinity", "the document is -inf, which is not a JSON number"),
        ('{"a": 1e999}', "a is inf, which is not a JSON number"),
        ("9" * 5000, "4300 digits"),
        ('{"a": ' + "9" * 30 + "}", "a is a number of more than 64 bits"),
        ('{"a": [1, 2.5, 1e999]}', r"a\.2 is inf, which is not a JSON number"),
        ('{"a": [1, -' + "9" * 30 + "]}", r"a\.1 is a number of more than 64 bits"),
        ('{"a": [1.5, ' + "9" * 400 + "]}", r"a\.1 is a number of more than 64 bits"),
        ('{"a": ["b", "\\ud800"]}', r"a\.1 has a lone surrogate, \\ud800"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice in one object"),
        ('{"a": "\\ud800"}', r"a has a lone surrogate, \\ud800"),
        ('{"\\ud800": 1}', r"the document has a lone surrogate, \\ud800"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
    ],
)
def test_what_json_leaves_open_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^x\.json: cannot be read as JSON \(.*{reason}.*\)\. Quantize again\.$"):
        parse(text)


def test_file_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2, 3]")
    assert read_json(path, ArtifactError, "Quantize again.", max_bytes=9) == [1, 2, 3]
    with pytest.raises(
        ArtifactError, match=r"a\.json: has more than 8 bytes, too many for this kind of file\. Quantize"
    ):
        read_json(path, ArtifactError, "Quantize again.", max_bytes=8)
    with pytest.raises(ArtifactError, match="/dev/zero: has more than 16,777,216 bytes"):
        read_json(Path("/dev/zero"), ArtifactError, "Quantize again.")


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.json: cannot be read \(No such file or directory\)\. Quantize"):
        read_json(tmp_path / "none.json", ArtifactError, "Quantize again.")
    (tmp_path / "a.json").write_bytes(b'{\n"a": "\xff"}')
    with pytest.raises(ArtifactError, match=r"a\.json: line 2 is not UTF-8 text \(invalid start byte\)\. Quantize"):
        read_json(tmp_path / "a.json", ArtifactError, "Quantize again.")
