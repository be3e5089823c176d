"""A run on a cluster writes the same bytes as on one machine, for any options and order of the tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.data.preprocessing.cluster import ranges
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from tests.support.logs.raw_logs import contents, random_lines, write_days
from tests.support.processes.clusters import ClusterHere, cluster_here

SMALL: dict[str, Any] = {"memory_bytes": 16 << 20, "workers": 2}


@pytest.fixture(autouse=True)
def many_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let several tasks write the few rows of a test."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1)
    monkeypatch.setattr("dlrm_pl.data.preprocessing.options._SMALL_BUCKET", 1 << 16)


def both(raw: Path, folder: Path, options: PreprocessOptions, cluster: ClusterHere) -> tuple[dict[str, bytes], ...]:
    preprocess(raw, folder / "one", options)
    with cluster_here(cluster):
        preprocess(raw, folder / "many", options, cluster="anywhere")
    assert sorted(path.name for path in folder.iterdir() if path.name != "raw") == ["many", "one"]
    return contents(folder / "one"), contents(folder / "many")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"randomize": "day"},
        pytest.param({"randomize": "none"}, marks=pytest.mark.slow),
        pytest.param({"vocabulary": "train_only"}, marks=pytest.mark.slow),
        pytest.param({"vocabulary": "train_only", "min_count": 3}, marks=pytest.mark.slow),
        {"vocabulary": "train_only", "min_count": 2, "randomize": "none", "subsample_rate": 0.5},
        {"subsample_rate": 0.3, "max_ind_range": 500},
        {"max_ind_range": 0, "seed": 7, "days": 3},
    ],
    ids=str,
)
def test_equals_one_machine(raw: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    one, many = both(raw, tmp_path, PreprocessOptions(**SMALL, **options), ClusterHere(3))
    assert many == one
    with cluster_here(ClusterHere(1)):
        preprocess(raw, tmp_path / "alone", PreprocessOptions(**SMALL, **options), cluster="anywhere")
    assert contents(tmp_path / "alone") == one


def test_several_tasks_write_the_training_rows(raw: Path, tmp_path: Path) -> None:
    cluster = ClusterHere(3)
    one, many = both(raw, tmp_path, PreprocessOptions(**SMALL), cluster)
    assert many == one
    assert sum(name.startswith("writing: train_") for name in cluster.names) > 5
    assert sum(name.startswith("reading: ") for name in cluster.names) == 4


@pytest.mark.each_value
@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("vocabulary", ["reference", "train_only"])
def test_rows_that_are_left_out_move_those_after_them(tmp_path: Path, machines: int, vocabulary: Any) -> None:
    days = [random_lines(300, seed) for seed in range(4)]
    days[0][10:10] = [b"junk", b"1\t2"]
    days[2].insert(0, b"")
    days[3] += [b"", b""]
    raw = write_days(tmp_path / "raw", days)
    options = PreprocessOptions(**SMALL, bad_rows=0.1, vocabulary=vocabulary, subsample_rate=0.2)
    one, many = both(raw, tmp_path, options, ClusterHere(machines))
    assert many == one
    assert many["rejected.tsv"].startswith(f"{raw}_0\t11\tfields\tjunk\n".encode())


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_packed_logs_with_blank_lines_at_their_ends(tmp_path: Path, newline: bytes) -> None:
    days = [random_lines(200, 0), [*random_lines(100, 1), b"", b""], [*random_lines(50, 2), b""]]
    raw = write_days(tmp_path / "raw", days, newline, compress=True)
    one, many = both(raw, tmp_path, PreprocessOptions(**SMALL), ClusterHere(2))
    assert many == one


def test_ids_of_another_dataset(raw: Path, tmp_path: Path) -> None:
    preprocess(raw, tmp_path / "raw", PreprocessOptions(**SMALL, vocabulary="train_only", min_count=2))
    fresh = write_days(tmp_path / "raw" / "new", [random_lines(200, 5), random_lines(300, 6)])
    for days in (2, 1):
        options = PreprocessOptions(**SMALL, vocabulary_from=tmp_path / "raw", days=days)
        (tmp_path / str(days)).mkdir()
        one, many = both(fresh, tmp_path / str(days), options, ClusterHere(2))
        assert many == one


@pytest.mark.parametrize("vocabulary", ["reference", "train_only"])
def test_one_log_that_is_cut_into_days(tmp_path: Path, vocabulary: Any) -> None:
    (tmp_path / "raw").write_bytes(b"\n".join(random_lines(700, 0)))
    options = PreprocessOptions(**SMALL, layout="kaggle", vocabulary=vocabulary)
    one, many = both(tmp_path / "raw", tmp_path, options, ClusterHere(2))
    assert many == one


def test_tasks_may_run_more_than_once(raw: Path, tmp_path: Path) -> None:
    one, many = both(raw, tmp_path, PreprocessOptions(**SMALL, vocabulary="train_only"), ClusterHere(3, times=2))
    assert many == one


@pytest.mark.parametrize("machines", [1, 3])
def test_progress_counts_every_row(raw: Path, tmp_path: Path, machines: int) -> None:
    seen: list[tuple[str, float, int]] = []
    with cluster_here(ClusterHere(machines)):
        preprocess(
            *(raw, tmp_path / "out", PreprocessOptions(**SMALL)),
            progress=lambda *told: seen.append(told),
            cluster="anywhere",
        )
    assert sum(rows for _, _, rows in seen) == 7002
    for stage in {stage for stage, _, _ in seen}:
        shares = [share for its, share, _ in seen if its == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
    assert seen[-1] == ("writing", 1.0, 0)


@pytest.mark.parametrize("machines", [1, 3])
def test_relative_paths_stay_as_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: int) -> None:
    write_days(tmp_path / "raw", [[*random_lines(50, 0), b"bad"], random_lines(50, 1)])
    preprocess(tmp_path / "raw" / "day", tmp_path / "raw" / "ids", PreprocessOptions(**SMALL, bad_rows=0.1))
    monkeypatch.chdir(tmp_path)
    options = PreprocessOptions(**SMALL, bad_rows=0.1, vocabulary_from="raw/ids")
    one, many = both(Path("raw/day"), Path(), options, ClusterHere(machines))
    assert many == one
    assert many["rejected.tsv"] == b"raw/day_0\t51\tfields\tbad\n"
