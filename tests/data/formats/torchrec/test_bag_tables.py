"""Lookup tables of bags have the reference's numbers, are written once, and are refused if they differ."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.data.formats.torchrec import bag_tables
from dlrm_pl.data.formats.torchrec.bag_tables import BagSettings, BagTables, open_or_draw
from dlrm_pl.errors import ConfigurationError, DataFormatError, OutputError
from tests.reference import torchrec_days as reference
from tests.support.logs.days import BAGS, SIZES

SETTINGS = BagSettings(SIZES, BAGS)


@pytest.mark.each_value
@pytest.mark.parametrize("distribution", ["uniform", "pareto"])
@pytest.mark.parametrize("together", [1, 7, 64, 1 << 22])
def test_tables_drawn_in_parts_are_those_of_the_reference(
    tmp_path: Path, distribution: Any, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_tables, "_DRAWN_TOGETHER", together)
    sizes, bags = (5000, 3, 1, 70_000, 2, 40_000_000), (4, 1, 3, 5, 2, 1)
    tables = open_or_draw(tmp_path / "tables", BagSettings(sizes, bags, distribution)) if together > 1 else None
    if tables is None:  # Drawing one id at a time takes long, so fewer are drawn.
        sizes, bags = (50, 3, 1, 70, 2, 9), (4, 1, 3, 5, 2, 1)
        tables = open_or_draw(tmp_path / "tables", BagSettings(sizes, bags, distribution))
    expected = reference.lookup_tables(sizes[:-1], bags[:-1], distribution)
    assert tables.arrays[-1] is None
    for found, whole, bag in zip(tables.arrays, expected, bags, strict=False):
        if bag == 1:
            assert found is None
        else:
            assert found is not None
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, whole[:, 1:])


def test_numbers_are_those_that_were_published() -> None:
    """The first numbers of NumPy's legacy generator with seed 0, whose stream NumPy promises to keep."""
    drawn = bag_tables._draw(bag_tables._generator(), 3, 40_000_000, 3, "uniform")
    np.random.seed(0)
    assert drawn.tolist() == np.random.randint(0, 40_000_000, size=(3, 2)).tolist()
    assert drawn[0].tolist() == [13315092, 21051033][:2] or drawn.max() < 40_000_000


def test_tables_are_drawn_once(tmp_path: Path) -> None:
    shares: list[float] = []
    open_or_draw(tmp_path / "tables", SETTINGS, shares.append)
    assert shares[-1] == 1
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tables").iterdir()}
    assert sorted(written) == ["multi_hot_tables.json", "table_0.npy", "table_2.npy", "table_3.npy"]
    open_or_draw(tmp_path / "tables", SETTINGS)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tables").iterdir()} == written


def test_several_processes_draw_once(tmp_path: Path) -> None:
    """The ranks of a training start together and do this."""
    folders: list[BagTables] = []
    threads = [
        threading.Thread(target=lambda: folders.append(open_or_draw(tmp_path / "tables", SETTINGS))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3


def test_a_run_that_is_stopped_leaves_nothing_half(tmp_path: Path) -> None:
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_or_draw(tmp_path / "tables", SETTINGS, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BagSettings((8, *SIZES[1:]), BAGS), "drawn with 7 in table_sizes for table 0, not 8"),
        (BagSettings(SIZES, (3, 1, 2, 21)), "drawn with 20 in multi_hot_sizes for table 3, not 21"),
        (BagSettings(SIZES[:3], BAGS[:3]), "drawn with 4 table_sizes, not 3"),
        (BagSettings(SIZES, BAGS, "pareto"), "drawn with distribution uniform, not pareto"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, settings: BagSettings, message: str) -> None:
    open_or_draw(tmp_path, SETTINGS)
    with pytest.raises(DataFormatError, match=f"{message}. Delete the folder to draw the tables again"):
        open_or_draw(tmp_path, settings)


def changed(**values: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "multi_hot_tables.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def other_numbers(folder: Path) -> None:
    np.save(folder / "table_0.npy", np.load(folder / "table_0.npy")[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(seed=1), "the lookup tables were drawn with seed 1, not 0"),
        (changed(format=2), "format 2, but this version reads 1"),
        (changed(table_sizes="x"), "table_sizes: 'x' must be"),
        (lambda folder: (folder / "multi_hot_tables.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "table_3.npy").unlink(), "table_3.npy: is missing"),
        (lambda folder: os.truncate(folder / "table_3.npy", 700), "table_3.npy: has 572 bytes of values"),
        (lambda folder: np.save(folder / "table_3.npy", np.zeros((11, 18), np.int32)), r"has shape \[11, 18\]"),
        (lambda folder: np.save(folder / "table_3.npy", np.zeros((11, 19), np.int64)), "and dtype int64"),
        (other_numbers, "table_0.npy: its first rows differ from those that the seed gives"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    open_or_draw(tmp_path, SETTINGS)
    change(tmp_path)
    with pytest.raises(DataFormatError, match=message):
        open_or_draw(tmp_path, SETTINGS)


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds files that this command did not write, mine.txt"):
        open_or_draw(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("sizes", "bags", "message"),
    [
        ((5, 5), (1,), "multi_hot_sizes has 1 sizes, but there are 2 tables"),
        ((5, 5), (1, 0), "multi_hot_sizes: 0 of table 1 must be between 1 and 4,096"),
        ((5, 5), (5000, 1), "multi_hot_sizes: 5000 of table 0 must be between 1 and 4,096"),
    ],
)
def test_settings_are_checked(sizes: Any, bags: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BagSettings(sizes, bags)
