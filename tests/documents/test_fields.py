"""Dataclasses made from parsed documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from dlrm_pl.documents.fields import Count, Share, make, shown
from dlrm_pl.errors import ArtifactError


@dataclass(frozen=True)
class Inner:
    name: str
    share: Share = 0.5


@dataclass(frozen=True)
class Outer:
    rows: Count
    drop: float
    interval: tuple[float, float] | None
    sizes: tuple[Count, ...]
    names: list[str]
    by_name: dict[str, Inner]
    kind: Literal["a", "b"]
    done: bool
    rest: dict[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {
    **{"rows": 3, "drop": 1, "interval": [0.0, 1.5], "sizes": [1, 2], "names": ["x"]},
    **{"by_name": {"t": {"name": "y"}}, "kind": "a", "done": False},
}


def test_dataclass_is_made_of_plain_values() -> None:
    made = make(Outer, GOOD, "x.json", ArtifactError, "Quantize again.")
    assert made == Outer(3, 1.0, (0.0, 1.5), (1, 2), ["x"], {"t": Inner("y")}, "a", False, {})
    assert isinstance(made.drop, float)
    assert make(Outer, GOOD | {"interval": None}, "x.json", ArtifactError, "").interval is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": -1}, "rows: -1 must be a whole number of at least 0"),
        ({"rows": True}, "rows: True must be a whole number"),
        ({"rows": 2.0}, "rows: 2.0 must be a whole number"),
        ({"drop": "1"}, "drop: '1' must be a number"),
        ({"drop": True}, "drop: True must be a number"),
        ({"drop": None}, "drop: None must be a number"),
        ({"interval": [1.0]}, r"interval: \[1.0\] must be a list of 2 or null"),
        ({"interval": "x"}, "interval: 'x' must be a list or null"),
        ({"interval": [1.0, "x"]}, r"interval\.1: 'x' must be a number"),
        ({"sizes": {"0": 1}}, r"sizes: \{'0': 1\} must be a list"),
        ({"sizes": [1, 2, None]}, r"sizes\.2: None must be a whole number"),
        ({"names": [["x"]]}, r"names\.0: \['x'\] must be text"),
        ({"by_name": []}, r"by_name: \[\] must be an object with fields"),
        ({"by_name": {"t": 1}}, r"by_name\.t: 1 must be an object with fields"),
        ({"by_name": {"t": {"share": 1}}}, r"by_name\.t\.name is missing"),
        ({"by_name": {"t": {"name": "", "share": 1.5}}}, r"share: 1\.5 must be a number between 0 and 1"),
        ({"kind": "c"}, "kind: 'c' must be one of 'a', 'b'"),
        ({"done": 0}, "done: 0 must be true or false"),
        ({"extra": 1}, "extra: 1 must be removed: unknown field"),
        ({"names": "\ud800" * 99}, r"names: '(\\ud800){1,}.* must be a list"),
    ],
)
def test_field_of_another_type_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^x\.json: .*{message}\. Quantize again\.$") as caught:
        make(Outer, GOOD | change, "x.json", ArtifactError, "Quantize again.")
    assert len(str(caught.value)) < 250


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"x\.json: \[1\] must be an object with fields"):
        make(Outer, [1], "x.json", ArtifactError, "Quantize again.")


def test_values_of_any_script_are_shown_as_they_are_but_no_control_characters() -> None:
    assert shown("Zürich, 東京") == "'Zürich, 東京'"
    assert shown("a\x1b[31m\n\u202e\xa0b") == r"'a\x1b[31m\n\u202e\xa0b'"
    assert len(shown("ü" * 100)) == 80
