"""The marker ``each_value`` leaves out combinations, but no value."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.combinations import each_value


@pytest.mark.parametrize("sizes", [(1,), (5,), (2, 2), (3, 7), (4, 3, 2), (2, 9, 2, 3)])
def test_every_value_is_kept_and_no_more_combinations_than_the_largest_parameter_has(sizes: tuple[int, ...]) -> None:
    combinations = list(product(*map(range, sizes)))
    kept = [combinations[number] for number in each_value(combinations)]
    assert len(kept) == max(sizes)
    for place, size in enumerate(sizes):
        counts = [sum(one[place] == value for one in kept) for value in range(size)]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1


def test_values_that_never_meet_are_all_kept() -> None:
    assert each_value([("a", 1), ("a", 2), ("b", 2)]) == {0, 2}
    assert each_value([]) == set()


class TestMarked:
    """The tests collected from this class show the effect of the hook in ``conftest.py``."""

    @pytest.mark.each_value
    @pytest.mark.parametrize("second", [[1], [2], [3]], ids=str)
    @pytest.mark.parametrize(("first", "same"), [("a", 0), ("b", 0)])
    def test_three_of_six_run(self, request: pytest.FixtureRequest, first: str, same: int, second: list[int]) -> None:
        mine = request.node.nodeid.partition("[")[0]
        others = [item for item in request.session.items if item.nodeid.startswith(f"{mine}[")]
        slow = [item for item in others if item.get_closest_marker("slow")]
        assert len(others) - len(slow) <= 3
