"""Logs at URLs, which tasks copy to their machines, give the same bytes as local files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.data.preprocessing.run import preprocess
from dlrm_pl.errors import ClusterError, ConfigurationError, DataFormatError, OutputError
from dlrm_pl.files import remote
from tests.support.logs.raw_logs import contents, random_lines, write_days
from tests.support.processes.clusters import ClusterHere, cluster_here

OPTIONS = PreprocessOptions(memory_bytes=16 << 20, workers=2)


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder in fsspec's in-memory file system."""
    system = fsspec.filesystem("memory")
    system.mkdir("/bucket")
    yield "memory://bucket/logs"
    system.rm("/bucket", recursive=True)


def upload(raw: Path, url: str) -> None:
    for path in raw.parent.iterdir():
        if path.is_file():
            fsspec.filesystem("memory").put_file(str(path), f"{url}/{path.name}")


def without_inputs(found: dict[str, bytes]) -> dict[str, Any]:
    """Return the files of a dataset, without what it states about its inputs."""
    description = json.loads(found["dataset.json"])
    del description["preprocess"]["inputs"]
    return found | {"dataset.json": description}


@pytest.mark.each_value
@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_equals_local_files(tmp_path: Path, bucket: str, machines: int, compress: bool) -> None:
    days = [random_lines(rows, seed) for seed, rows in enumerate((700, 1, 600, 301))]
    days[2].insert(5, b"junk")
    raw = write_days(tmp_path / "raw", days, compress=compress)
    upload(raw, bucket)
    options = PreprocessOptions(memory_bytes=16 << 20, workers=2, bad_rows=0.1)
    preprocess(raw, tmp_path / "local", options)
    with cluster_here(ClusterHere(machines)):
        preprocess(f"{bucket}/day", tmp_path / "remote", options, cluster="anywhere")
        again = preprocess(f"{bucket}/day", tmp_path / "remote", options, cluster="anywhere")
    assert again.seconds is None
    local, made = (without_inputs(contents(tmp_path / name)) for name in ("local", "remote"))
    ending = ".gz" if compress else ""
    assert made.pop("rejected.tsv") == f"{bucket}/day_2{ending}\t6\tfields\tjunk\n".encode()
    del local["rejected.tsv"]
    assert made == local
    inputs = json.loads((tmp_path / "remote" / "dataset.json").read_text())["preprocess"]["inputs"]
    assert [entry["file"] for entry in inputs] == [f"{bucket}/day_{day}{ending}" for day in range(4)]


def test_local_file_system_by_its_url(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the beginnings and ends are read before the work starts.
    monkeypatch.setattr(remote, "_HEAD_BYTES", 200_000)
    preprocess(raw, tmp_path / "local", OPTIONS)
    with cluster_here(ClusterHere(2)):
        preprocess(raw.as_uri(), tmp_path / "remote", OPTIONS, cluster="anywhere")
    assert without_inputs(contents(tmp_path / "remote")) == without_inputs(contents(tmp_path / "local"))


def test_errors_name_the_url(tmp_path: Path, bucket: str) -> None:
    upload(write_days(tmp_path / "raw", [random_lines(50, 0), [*random_lines(50, 1), b"bad"]]), bucket)
    with cluster_here(ClusterHere(2)):
        with pytest.raises(DataFormatError, match=rf"^{bucket}/day_1:51: has 1 field"):
            preprocess(f"{bucket}/day", tmp_path / "out", OPTIONS, cluster="anywhere")
        with pytest.raises(DataFormatError, match=rf"^{bucket}/night_0, .*: no day files were found;"):
            preprocess(f"{bucket}/night", tmp_path / "out", OPTIONS, cluster="anywhere")
        with pytest.raises(DataFormatError, match=r"^memory://nothing: does not exist"):
            preprocess("memory://nothing/day", tmp_path / "out", OPTIONS, cluster="anywhere")
        with pytest.raises(ConfigurationError, match=r"^nonsense://bucket: cannot be opened \(.*nonsense"):
            preprocess("nonsense://bucket/day", tmp_path / "out", OPTIONS, cluster="anywhere")
    for options, cluster in ((OPTIONS, None), (PreprocessOptions(layout="kaggle"), "anywhere")):
        with pytest.raises(ConfigurationError, match=r"needs --cluster\. Copy other files"):
            preprocess(f"{bucket}/day", tmp_path / "out", options, cluster=cluster)
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_meanwhile(tmp_path: Path, bucket: str) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(50, seed) for seed in range(3)])
    upload(raw, bucket)

    def before_task(name: str) -> None:
        if name == "reading: file 1":
            fsspec.filesystem("memory").pipe_file(f"{bucket}/day_1", b"other")

    with (
        cluster_here(ClusterHere(2, before_task)),
        pytest.raises(DataFormatError, match=rf"^{bucket}/day_1: has 5 bytes now, but had [\d,]+ when the run began"),
    ):
        preprocess(f"{bucket}/day", tmp_path / "out", OPTIONS, cluster="anywhere")


def test_days_that_a_machine_cannot_hold_are_named(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_days(tmp_path / "raw", [random_lines(rows, 0) for rows in (50, 900, 50, 800)])
    upload(raw, bucket)
    scratch, real = tmp_path / "scratch", shutil.disk_usage
    scratch.mkdir()

    def usage(folder: Any) -> Any:
        found = real(folder)
        return found._replace(free=100_000) if Path(folder) == scratch else found

    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with (
        cluster_here(ClusterHere(2)),
        pytest.raises(ClusterError, match=rf"^{bucket}/day_1, {bucket}/day_3: machine 0 copies up to .* free for temp"),
    ):
        preprocess(f"{bucket}/day", tmp_path / "out", OPTIONS, cluster="anywhere")


def files_at(url: str) -> dict[str, bytes]:
    system = fsspec.filesystem("memory")
    return {path.rpartition("/")[2]: system.cat_file(path) for path in system.ls(url, detail=False)}


def test_output_at_a_url(raw: Path, tmp_path: Path, bucket: str) -> None:
    url, options = f"{bucket}/clicks", OPTIONS
    stages = []
    with cluster_here(ClusterHere(2)):
        preprocess(
            *(raw, url, options),
            cluster="anywhere",
            work=tmp_path,
            progress=lambda stage, share, rows: stages.append((stage, share)),
        )
    assert stages[-1] == ("uploading", 1.0)
    assert files_at(url) == {path.name: path.read_bytes() for path in (tmp_path / "clicks").iterdir()}
    stages.clear()
    again = preprocess(raw, url, options, work=tmp_path, progress=lambda stage, *_: stages.append((stage, 0)))
    assert again.seconds is None
    assert stages == []
    other = PreprocessOptions(memory_bytes=16 << 20, workers=2, seed=5)
    with pytest.raises(
        OutputError, match=rf"^{url}: holds a dataset that was made differently: seed changed from 123 to 5"
    ):
        preprocess(raw, url, other, work=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    preprocess(raw, url, other, work=tmp_path / "other", overwrite=True)
    assert files_at(url) == {path.name: path.read_bytes() for path in (tmp_path / "other" / "clicks").iterdir()}


def test_an_upload_that_was_interrupted_is_no_dataset(
    raw: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, real = f"{bucket}/clicks", remote.RemoteFolder.put

    def put(self: remote.RemoteFolder, path: Path) -> None:
        if path.name == "terabyte_processed_val.bin":
            raise KeyboardInterrupt
        real(self, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(remote.RemoteFolder, "put", put)
        preprocess(raw, url, OPTIONS, work=tmp_path)
    assert "dataset.json" not in files_at(url)
    preprocess(raw, url, OPTIONS, work=tmp_path)
    assert files_at(url) == {path.name: path.read_bytes() for path in (tmp_path / "clicks").iterdir()}


def test_files_at_the_url_of_the_output_are_left_alone(raw: Path, tmp_path: Path, bucket: str) -> None:
    upload(raw, f"{bucket}/clicks")
    with pytest.raises(
        OutputError, match=rf"^{bucket}/clicks: holds files that this command did not write, such as day_0"
    ):
        preprocess(raw, f"{bucket}/clicks", OPTIONS, work=tmp_path, overwrite=True)
    with pytest.raises(ConfigurationError, match=r"an output at a URL needs .* Give --work"):
        preprocess(raw, f"{bucket}/clicks", OPTIONS)
    assert list(tmp_path.iterdir()) == []
