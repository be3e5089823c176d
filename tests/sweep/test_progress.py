"""The length of a trial, and when it is scored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.sweep.progress import batches_of, rows_of_fit, scored_after

SIZES = st.integers(1, 5000)


@given(rows=SIZES, batch_size=st.integers(1, 300), accumulated=st.integers(1, 5))
def test_batches_are_whole_steps_and_about_the_rows(rows: int, batch_size: int, accumulated: int) -> None:
    batches = batches_of(rows, batch_size, accumulated)
    assert batches % accumulated == 0
    assert abs(batches * batch_size - rows) < batch_size * accumulated


@given(batches=SIZES, validations=st.integers(1, 20))
def test_scores_follow_equal_shares_and_the_last_batch(batches: int, validations: int) -> None:
    after = scored_after(batches, validations)
    assert len(after) == validations
    assert after[-1] == batches
    assert list(after) == sorted(after)
    assert all(0 <= number - batches * (1 + share) / validations < 1 for share, number in enumerate(after))


def test_rows_are_those_that_fit_would_train_on() -> None:
    limits = {"epoch_rows": 1000, "max_epochs": 1, "max_steps": -1, "limit": None}
    assert rows_of_fit(8, 128, 1, **limits) == 1000  # type: ignore[arg-type]
    assert rows_of_fit(8, 128, 1, **limits | {"max_epochs": None}) == 1000  # type: ignore[arg-type]
    assert rows_of_fit(8, 128, 1, **limits | {"max_epochs": 3}) == 3000  # type: ignore[arg-type]
    assert rows_of_fit(8, 128, 1, **limits | {"limit": 0.5}) == 512  # type: ignore[arg-type]
    assert rows_of_fit(8, 128, 1, **limits | {"limit": 2}) == 256  # type: ignore[arg-type]
    assert rows_of_fit(8, 128, 2, **limits | {"max_steps": 3}) == 768  # type: ignore[arg-type]
