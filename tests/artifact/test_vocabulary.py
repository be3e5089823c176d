"""An artifact with dictionaries scores raw values without its dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.artifact.verification.originals import open_dataset
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME, load_encoder, save_encoder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import DictionaryChecksums, Vocabulary
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.errors import ArtifactError, ConfigurationError, DatasetError
from dlrm_pl.inspection import describe
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.serving.predictor import Predictor
from dlrm_pl.serving.rows import batches_to_predict
from tests.support import tiny
from tests.support.artifacts import change, data, sign
from tests.support.logs.raw_values import write_folder

COLUMNS = Columns(
    "click",
    tuple(DenseColumn(name=f"n{number}") for number in range(13)),
    (
        SparseColumn(name="word"),
        SparseColumn(name="user", kind="integer", ids="hash", rows=7),
        SparseColumn(name="<i>shop", kind="integer"),
    ),
)
TABLES: list[Any] = [Strings.of([b"w%d" % number for number in range(40)]), None, np.arange(100, 125)]
ENCODER = RowEncoder(COLUMNS, Vocabulary(TABLES, COLUMNS))
FINGERPRINT = DictionaryChecksums.of_tables(ENCODER.vocabulary.sizes, ENCODER.vocabulary.values, COLUMNS).fingerprint
FRAME: dict[str, Any] = {f"n{number}": [number, 0, None] for number in range(13)} | {
    "word": ["w3", "w39", "no such word"],
    "user": [5, None, -5],
    "<i>shop": [100, 124, 7],
}
SETTINGS = TuningSettings(criterion=Criterion(relative=0.02), max_trials=2)


def rows(**changes: object) -> Any:
    return data(**({"columns": COLUMNS, "dataset_fingerprint": FINGERPRINT} | changes))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("vocabulary") / "artifact"
    build_artifact(tiny.model(), rows(), SETTINGS, output, encoder=ENCODER)
    return output


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "artifact"))


def test_raw_values_get_the_ids_of_the_artifacts_own_dictionaries(built: Path) -> None:
    artifact = load_artifact(built)
    batch = ClickBatch.from_frame(FRAME, ENCODER)
    assert batch.indices[0].tolist() == [3, 39, 0]
    for source in (artifact, Predictor(artifact), built, str(built)):
        assert torch.equal(ClickBatch.from_frame(FRAME, source).indices, batch.indices)
    expected = artifact.predict(batch)
    np.testing.assert_array_equal(artifact.predict(FRAME), expected)
    np.testing.assert_array_equal(Predictor(artifact)(FRAME, batch_size=2), expected)
    assert "raw values" in describe(built)
    assert artifact.encoder is artifact.encoder


def test_artifact_without_dictionaries_says_what_to_do(folder: Path) -> None:
    manifest = folder / "manifest.json"
    change(folder, manifest.name, ("files",), {
        name: "" for name in load_artifact(folder).manifest.files if name != VOCABULARY_NAME
    })  # fmt: skip
    (folder / VOCABULARY_NAME).unlink()
    for source in (load_artifact(folder), folder):
        with pytest.raises(ConfigurationError, match=r"holds no dictionaries.*dataset folder.*--with_vocabulary"):
            ClickBatch.from_frame(FRAME, source)


def uses(folder: Path) -> list[Any]:
    return [lambda: load_artifact(folder, checksums="never").encoder, lambda: ClickBatch.from_frame(FRAME, folder)]


@pytest.mark.parametrize(
    ("tables", "columns", "message"),
    [
        ([Strings.of([b"x%d" % n for n in range(40)]), None, TABLES[2]], COLUMNS, "its dictionaries have the fingerpr"),
        (
            [TABLES[0], None, np.arange(24)],
            COLUMNS,
            "the sizes of its dictionaries differ from those of the model's tables",
        ),
        (TABLES, Columns("other", COLUMNS.dense, COLUMNS.sparse), r"its columns are not those in manifest\.json"),
    ],
)
def test_dictionaries_of_another_dataset_are_refused(
    folder: Path, tables: list[Any], columns: Columns, message: str
) -> None:
    save_encoder(RowEncoder(columns, Vocabulary(tables, columns)), folder / VOCABULARY_NAME)
    sign(folder)
    for use in uses(folder):
        with pytest.raises(ArtifactError, match=rf"{VOCABULARY_NAME}: {message}"):
            use()


def test_damaged_dictionaries_are_found_at_load_and_at_use(folder: Path) -> None:
    path = folder / VOCABULARY_NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{VOCABULARY_NAME}: checksum mismatch"):
        load_artifact(folder)
    for use in uses(folder):
        with pytest.raises(ArtifactError, match="fingerprint"):
            use()
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"{VOCABULARY_NAME}: is missing"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("encoder", "columns", "message"),
    [
        (ENCODER, None, "model's columns are not known"),
        (ENCODER, Columns("x", COLUMNS.dense, COLUMNS.sparse), "the label is click in the dictionaries, but x in the"),
        (RowEncoder(COLUMNS, Vocabulary([*TABLES[:2], np.arange(9)], COLUMNS)), COLUMNS, "table 2 has 25 rows, and"),
    ],
)
def test_dictionaries_that_do_not_fit_are_refused_before_the_search(
    tmp_path: Path, encoder: RowEncoder, columns: Columns | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_artifact(tiny.model(), rows(columns=columns), SETTINGS, tmp_path / "a", encoder=encoder)
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_what_was_given(built: Path) -> None:
    found = load_encoder(built / VOCABULARY_NAME)
    assert found.columns == COLUMNS
    assert found.vocabulary.sizes == (40, 7, 25)
    assert isinstance(load_artifact(built), Artifact)


def scored(*arguments: Any, **options: Any) -> np.ndarray:
    artifact: Artifact = arguments[0]
    rows = batches_to_predict(*arguments, "test", 2, **options)
    return np.concatenate(list(Predictor(artifact).stream(rows.batches)))


def test_raw_rows_are_scored_with_and_without_the_dataset(built: Path, tmp_path: Path) -> None:
    artifact = load_artifact(built)
    pa.parquet.write_table(pa.table(FRAME), tmp_path / "rows.parquet")
    folder = write_folder(tmp_path / "data", COLUMNS, TABLES)
    expected = artifact.predict(FRAME)
    np.testing.assert_array_equal(scored(artifact, None, tmp_path / "rows.parquet"), expected)
    np.testing.assert_array_equal(scored(artifact, folder.path, tmp_path / "rows.parquet"), expected)
    assert scored(artifact, folder.path, None).shape == (2,)
    with pytest.raises(ConfigurationError, match=r"no rows to score. Give --data"):
        batches_to_predict(artifact, None, None, "test", 2)


def test_dataset_of_other_columns_is_refused_unless_forced(
    built: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dense = (DenseColumn(name="n0", transform="none"), *COLUMNS.dense[1:])
    folder = write_folder(tmp_path / "data", Columns("click", dense, COLUMNS.sparse), TABLES)
    artifact = load_artifact(built)
    message = "column n0 has transform=none in this dataset, but log1p in the artifact. Give the dataset that"
    with pytest.raises(DatasetError, match=message):
        open_dataset(folder.path, artifact)
    open_dataset(folder.path, artifact, force=True)
    assert "Column n0 has transform=none in the dataset, but log1p in the model. Continuing" in caplog.text
    fewer = write_folder(tmp_path / "fewer", Columns("click", COLUMNS.dense[:12], COLUMNS.sparse), TABLES)
    with pytest.raises(DatasetError, match="the number of dense columns is 12"):
        open_dataset(fewer.path, artifact, force=True)


def test_report_lists_the_columns(built: Path) -> None:
    page = (built / "report.html").read_text()
    for text in ("n0 to n12", "hash into 7 ids", "&lt;i&gt;shop", "integer, vocabulary"):
        assert text in page
    assert "<i>shop" not in page
