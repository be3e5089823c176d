"""Days made from raw logs have the bytes of TorchRec's scripts, whatever the threads, memory and interruptions."""

from __future__ import annotations

import io
import json
import os
import resource
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.data.preprocessing.engine.numpy_engine import NumPyEngine, engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions, Randomize
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.data.preprocessing.torchrec import numbering, numpy_order, row_columns, shuffle
from dlrm_pl.errors import ConfigurationError, DataFormatError, OutputError, ShapeError
from tests.reference import torchrec_days as reference
from tests.support.logs.raw_logs import random_lines, write_days

ROWS = (400, 301, 217)


@pytest.fixture(scope="module")
def lines() -> list[list[bytes]]:
    return [random_lines(rows, seed) for seed, rows in enumerate(ROWS)]


@pytest.fixture(scope="module")
def raw(lines: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_days(tmp_path_factory.mktemp("raw"), lines)


def npy(values: Any) -> bytes:
    handle = io.BytesIO()
    np.save(handle, values)
    return handle.getvalue()


def expected(lines: list[list[bytes]], *, seed: int | None = 0, threshold: int = 0) -> dict[str, bytes]:
    """Return the files that TorchRec's scripts write, shuffled unless ``seed`` is None."""
    days = reference.preprocessed([[line.decode() for line in day] for day in lines], 13, threshold)
    if seed is not None:
        days = reference.shuffled(days, seed)
    return {f"day_{day}_{part}.npy": npy(values) for day, parts in enumerate(days) for part, values in parts.items()}


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".npy"}


def options(**changes: Any) -> PreprocessOptions:
    return PreprocessOptions(**{"flavor": "torchrec", "seed": 0, "workers": 2} | changes)


@pytest.mark.parametrize(("randomize", "seed"), [("none", None), ("total", 0), ("total", 7)])
def test_files_have_the_bytes_of_the_reference(
    raw: Path, lines: list[list[bytes]], tmp_path: Path, randomize: Randomize, seed: int | None
) -> None:
    report = preprocess(raw, tmp_path / "days", options(randomize=randomize, seed=seed or 0))
    assert made(tmp_path / "days") == expected(lines, seed=seed)
    assert report.rows_by_day == ROWS
    assert list(tmp_path.iterdir()) == [tmp_path / "days"]


@pytest.mark.parametrize("threshold", [2, 3])
def test_rare_values_share_an_id(raw: Path, lines: list[list[bytes]], tmp_path: Path, threshold: int) -> None:
    report = preprocess(raw, tmp_path / "days", options(min_count=threshold))
    assert made(tmp_path / "days") == expected(lines, threshold=threshold)
    # Each value of the last column occurs once.
    assert report.folder.table_sizes[25] == 2


@pytest.mark.parametrize("isa", ["native", "fallback"])
def test_neither_memory_nor_blocks_change_the_bytes(
    raw: Path, lines: list[list[bytes]], tmp_path: Path, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isa == "fallback":
        from dlrm_pl.data.preprocessing.engine import numpy_engine

        monkeypatch.setenv("DLRM_PL_ISA", isa)
        numpy_engine.engine.cache_clear()
    monkeypatch.setattr(numbering, "_TOGETHER", 97)
    monkeypatch.setattr(row_columns, "_TOGETHER", 64)
    monkeypatch.setattr(numpy_order, "_TOGETHER", 50)
    monkeypatch.setattr(numpy_order, "_STEP_BYTES", 1 << 18)
    seen = []
    number = numbering._Numbering

    def small(*arguments: Any) -> Any:
        # Each table of values has room for only a few.
        seen.append(arguments[4])
        return number(*arguments[:5], 9_000 if isa == "native" else 2_000)

    monkeypatch.setattr(numbering, "_Numbering", small)
    monkeypatch.setattr(numbering, "_MOST_PARTS", 16)
    rows = shuffle.RowBuckets.row_bytes
    monkeypatch.setattr(shuffle.RowBuckets, "row_bytes", staticmethod(lambda *counts: rows(*counts) * 1000))
    preprocess(raw, tmp_path / "days", options(memory_bytes=16 << 20, checkpoint_bytes=20_000, min_count=1))
    assert made(tmp_path / "days") == expected(lines)
    assert max(seen) == 16
    if isa == "fallback":
        monkeypatch.undo()
        numpy_engine.engine.cache_clear()


@pytest.mark.parametrize("min_count", [1, 3])
def test_parts_of_the_values_give_the_ids_of_all(
    tmp_path: Path, min_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "_TOGETHER", 1000)
    values = (np.random.default_rng(1).zipf(1.3, 20_000) % 2**32).astype(np.uint32)
    values.tofile(tmp_path / "raw")
    found = []
    for parts in (1, 2, 8):
        size = numbering._Numbering(tmp_path / "raw", tmp_path / "ids", len(values), engine(), parts, 1 << 30).write(
            min_count
        )
        found.append((size, (tmp_path / "ids").read_bytes()))
    assert found[0] == found[1] == found[2]
    ids = np.frombuffer(found[0][1], np.int32)
    lines = [[f"0\t0\t{value:x}" for value in values]]
    np.testing.assert_array_equal(ids, reference.preprocessed(lines, 1, min_count)[0]["sparse"][:, 0])
    assert found[0][0] == ids.max() + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "raw"]


@pytest.mark.parametrize("steps", [1, 7, 333, 999, 5000])
def test_the_order_is_that_of_numpys_shuffle_of_rows(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_order, "_TOGETHER", 123)
    rows = np.arange(5000, dtype=np.float32).reshape(1000, 5)
    np.random.seed(3)
    np.random.shuffle(rows)
    places = numpy_order.places_in_order(tmp_path, 1000, 3, engine(), steps * numpy_order._STEP_BYTES)
    np.testing.assert_array_equal(rows[places, 0], np.arange(1000) * 5)
    assert [path.name for path in tmp_path.iterdir()] == ["places.bin"]
    for few in (1, 2):
        assert sorted(numpy_order.places_in_order(tmp_path, few, 3, engine(), 1 << 20)) == list(range(few))
    with pytest.raises(
        ConfigurationError, match="4,294,967,296 rows are more than 4,294,967,295, the most that can be shuffled"
    ):
        numpy_order.places_in_order(tmp_path, 1 << 32, 3, engine(), 1 << 20)


def test_swaps_outside_of_the_values_are_refused() -> None:
    for one in (engine(), NumPyEngine()):
        values = np.arange(4, dtype=np.uint32)
        for targets in ([0, 4], [-1], [0] * 5):
            with pytest.raises(ShapeError, match=r"outside the|the values to swap"):
                one.swap(values.copy(), np.array(targets, np.int64))
        one.swap(values, np.array([0, 3, 1], np.int64))
        assert values.tolist() == [3, 1, 0, 2]


def test_a_bucket_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path) -> None:
    """The system writes the part that fits, and reports this only by the number of bytes."""
    rows = 50
    buckets = shuffle.RowBuckets(tmp_path, rows, num_dense=1, num_sparse=1, bucket_rows=rows)
    values = np.arange(rows, dtype=np.int32)[:, None]
    block = row_columns.Block(0, values.astype(np.float32), np.zeros(rows, np.int32), values)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ExitStack() as stack:
        files = buckets.open(stack)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                buckets.add(files, block, np.arange(rows, dtype=np.uint32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_large_ids_are_rounded_as_in_the_shuffled_files_of_torchrec(tmp_path: Path) -> None:
    """TorchRec's array of all columns holds float32."""
    buckets = shuffle.RowBuckets(tmp_path, 2, num_dense=1, num_sparse=1, bucket_rows=2)
    block = row_columns.Block(
        0, np.zeros((2, 1), np.float32), np.array([0, 1], np.int32), np.array([[2**24 + 1], [5]], np.int32)
    )
    with ExitStack() as stack:
        buckets.add(buckets.open(stack), block, np.array([1, 0]))
    written: list[Any] = []

    class Writer:
        def write(self, first: int, dense: Any, labels: Any, ids: Any) -> None:
            written.append((first, labels.tolist(), ids.tolist()))

    buckets.write([Writer()], [2], lambda rows: None)  # type: ignore[list-item]
    assert written == [(0, [1, 0], [[5], [2**24]])]


def test_made_days_are_a_dataset_that_knows_its_tables(raw: Path, lines: list[list[bytes]], tmp_path: Path) -> None:
    preprocess(raw, tmp_path / "days", options())
    folder = DatasetFolder.open(tmp_path / "days")
    days = reference.shuffled(reference.preprocessed([[line.decode() for line in day] for day in lines], 13), 0)
    assert folder.table_sizes == tuple(
        1 + max(day["sparse"][:, column].max() for day in days) for column in range(folder.columns.num_sparse)
    )
    rows = ClickDataset.of_split(folder, "train")[:]
    np.testing.assert_array_equal(rows.dense.numpy(), np.concatenate([day["dense"] for day in days[:2]]))
    np.testing.assert_array_equal(rows.indices.numpy().T, np.concatenate([day["sparse"] for day in days[:2]]))
    stated = json.loads((tmp_path / "days" / "torchrec.json").read_text())
    assert stated["rows_by_day"] == list(ROWS)
    assert stated["report"]["days"][0]["rows"] == ROWS[0]
    stated["rows_by_day"][0] += 1
    (tmp_path / "days" / "torchrec.json").write_text(json.dumps(stated))
    with pytest.raises(
        DataFormatError, match=r"states days with \[401, 301, 217\] rows, but they have \[400, 301, 217\]"
    ):
        DatasetFolder.open(tmp_path / "days")


def test_an_empty_label_is_0_and_negative_numbers_stay(tmp_path: Path) -> None:
    def line(label: str, dense: str) -> bytes:
        return "\t".join([label, dense, *["3"] * 12, *["0a"] * 26]).encode()

    lines = [[line("", "-2147483640"), line("1", "-5")], [line("0", "7"), line("1", "")]]
    preprocess(write_days(tmp_path / "raw", lines), tmp_path / "days", options())
    assert made(tmp_path / "days") == expected(lines)


def test_a_range_that_the_logarithm_has_not_is_refused(tmp_path: Path) -> None:
    def line(dense: str) -> bytes:
        return "\t".join(["1", dense, *["3"] * 12, *["0a"] * 26]).encode()

    lines = [[line("-2147483640"), line("100")], [line("7"), line("8")]]
    with pytest.raises(DataFormatError, match=r"day_0: its dense values go from -2,147,483,640 to 100"):
        preprocess(write_days(tmp_path / "raw", lines), tmp_path / "days", options())
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("stage", ["reading", "numbering", "writing"])
def test_a_run_that_is_stopped_goes_on(raw: Path, lines: list[list[bytes]], tmp_path: Path, stage: str) -> None:
    calls = 0

    def stop(name: str, share: float, rows: int) -> None:
        nonlocal calls
        calls += name == stage
        if calls == (2 if stage == "writing" else 3):
            raise KeyboardInterrupt

    wanted = options(memory_bytes=16 << 20, checkpoint_bytes=20_000, workers=1)
    with pytest.raises(KeyboardInterrupt):
        preprocess(raw, tmp_path / "days", wanted, progress=stop)
    assert not (tmp_path / "days").exists()
    assert preprocess(raw, tmp_path / "days", wanted).resumed
    assert made(tmp_path / "days") == expected(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["days"]


def test_finished_days_are_kept_and_others_replaced_when_the_user_says_so(
    raw: Path, lines: list[list[bytes]], tmp_path: Path
) -> None:
    preprocess(raw, tmp_path / "days", options())
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "days").iterdir()}
    assert preprocess(raw, tmp_path / "days", options()).seconds is None
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "days").iterdir()} == before
    with pytest.raises(OutputError, match="seed changed from 0 to 4"):
        preprocess(raw, tmp_path / "days", options(seed=4))
    preprocess(raw, tmp_path / "days", options(seed=4), overwrite=True)
    assert made(tmp_path / "days") == expected(lines, seed=4)
    os.rename(tmp_path / "days", tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds files that this command did not write, notes"):
        preprocess(raw, tmp_path / "mine", options(), overwrite=True)


def test_bad_lines_are_refused_or_left_out(lines: list[list[bytes]], tmp_path: Path) -> None:
    broken = [[*lines[0][:5], b"1\t2\t3", *lines[0][5:]], *lines[1:]]
    raw = write_days(tmp_path / "raw", broken)
    with pytest.raises(DataFormatError, match=r"day_0:6: has 3 fields; expected 40"):
        preprocess(raw, tmp_path / "days", options())
    preprocess(raw, tmp_path / "days", options(bad_rows=0.01))
    assert made(tmp_path / "days") == expected(lines)
    assert b"\t6\tfields\t1\t2\t3" in (tmp_path / "days" / "rejected.tsv").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "kaggle"}, "layout=kaggle is for --flavor upstream"),
        ({"subsample_rate": 0.5}, "subsample_rate=0.5 is for --flavor upstream"),
        ({"vocabulary": "train_only"}, "vocabulary=train_only is for --flavor upstream"),
        ({"max_ind_range": 1000}, "max_ind_range=1000 is for --flavor upstream"),
        (
            {"randomize": "day"},
            "randomize=day is not available with --flavor torchrec: TorchRec shuffles over all days",
        ),
        ({"seed": 2**32}, "seed=4294967296 must be below 4,294,967,296"),
    ],
)
def test_options_of_the_other_flavor_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        options(**changes)


def test_clusters_and_urls_are_refused(raw: Path, tmp_path: Path) -> None:
    for output, cluster in ((tmp_path / "days", "local"), ("s3://bucket/days", None)):
        with pytest.raises(ConfigurationError, match="--flavor torchrec runs on one machine"):
            preprocess(raw, output, options(), cluster=cluster)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # From torch's data pipes.
@pytest.mark.parametrize("threshold", [0, 3])
def test_files_have_the_bytes_of_torchrec_itself(
    raw: Path, lines: list[list[bytes]], tmp_path: Path, threshold: int
) -> None:
    """Calls the functions of its three scripts."""
    criteo = pytest.importorskip("torchrec.datasets.criteo")
    pytest.importorskip("iopath")
    utils, first, second, third = criteo.BinaryCriteoUtils, *(tmp_path / str(step) for step in (1, 2, 3))
    for folder in (first, second, third):
        folder.mkdir()
    for day in range(len(ROWS)):
        names = [first / f"day_{day}_{part}.npy" for part in ("dense", "sparse", "labels")]
        utils.tsv_to_npys(f"{raw}_{day}", *map(str, names))
    sparse = [str(first / f"day_{day}_sparse.npy") for day in range(len(ROWS))]
    utils.sparse_to_contiguous(sparse, str(second), frequency_threshold=threshold)
    for path in second.iterdir():
        path.rename(second / path.name.replace("_contig_freq", ""))
    preprocess(raw, tmp_path / "plain", options(randomize="none", min_count=max(threshold, 1)))
    plain = {path.name: path.read_bytes() for path in first.iterdir() if "sparse" not in path.name} | made(second)
    assert made(tmp_path / "plain") == plain
    utils.shuffle(str(first), str(second), str(third), dict(enumerate(ROWS[:-1])), days=len(ROWS))
    preprocess(raw, tmp_path / "days", options(min_count=max(threshold, 1)))
    assert made(tmp_path / "days") == made(third)
