"""Values at steps: thinned evenly, with first, last and extremes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.curves.points import MOST_POINTS, Points
from tests.support.examples import examples


def points_of(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Points:
    points = Points()
    for number, row in enumerate(values):
        points.add(10 * number, row.tolist())
    return points


@settings(deadline=None, max_examples=examples(40))
@given(count=st.integers(1, 2000), columns=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_every_so_many_points_and_all_extremes_are_kept(count: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(count, columns))
    points = points_of(values)
    assert len(points) <= MOST_POINTS + 2 * columns
    assert points.is_sound()
    assert set(range(0, count, points.every)) <= set(points.numbers)
    extremes = {int(place) for column in values.T for place in (column.argmin(), column.argmax())}
    assert extremes <= set(points.numbers)
    assert {0, count - 1} <= set(points.numbers)
    assert points.steps == [10 * number for number in points.numbers]
    assert [points.column(place) for place in range(columns)] == values[points.numbers].T.tolist()


def test_few_points_are_all_kept() -> None:
    assert points_of(np.zeros((40, 2))).numbers == list(range(40))


@pytest.mark.parametrize(
    "change",
    [
        {"every": 0},
        {"numbers": [0, 0]},
        {"numbers": [0, 7]},
        {"steps": [10.0, 0.0]},
        {"rows": [[0.0]]},
        {"rows": [[0.0], [0.0, 1.0]]},
        {"rows": [[0.0], [float("nan")]]},
    ],
)
def test_damaged_points_are_not_sound(change: dict[str, object]) -> None:
    points = points_of(np.zeros((2, 1)))
    assert Points(**points.to_dict()).is_sound()
    assert not Points(**points.to_dict() | change).is_sound()  # type: ignore[arg-type]
