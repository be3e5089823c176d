"""Differences between processes are named, with both values."""

from __future__ import annotations

from dlrm_pl.distributed.processes.agreement import difference_of

FIRST = {"the version of torch": "2.13.0", "data.batch_size": "64", "": "one"}


def test_equal_processes_agree() -> None:
    assert difference_of([FIRST, FIRST | {"": "two"}]) == ""


def test_first_difference_is_named() -> None:
    other = FIRST | {"data.batch_size": "32", "": "two"}
    assert difference_of([FIRST, FIRST, other]) == (
        "The processes do not agree: data.batch_size is 32 on rank 2 (two), but 64 on rank 0 (one). Start all "
        "processes with the same versions, options and data."
    )


def test_what_one_process_lacks_is_named() -> None:
    without = {name: value for name, value in FIRST.items() if name != "the version of torch"}
    assert "the version of torch is not there on rank 1 (one), but 2.13.0 on rank 0" in difference_of([FIRST, without])
    assert "the version of torch is 2.13.0 on rank 1 (one), but not there on rank 0" in difference_of([without, FIRST])
