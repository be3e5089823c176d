"""An artifact states the columns of its rows, and is refused if they do not fit its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.artifact.columns import stated_columns
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ArtifactError
from dlrm_pl.model.architecture import Architecture
from tests.support.artifacts import change

STATEMENT: dict[str, Any] = {
    "label": "click",
    "dense": [{"name": "n{1..13}", "type": "integer", "transform": "log1p"}],
    "sparse": [
        {"name": "word", "kind": "string", "ids": "vocabulary"},
        {"name": "user", "kind": "integer", "ids": "hash", "rows": 7},
        {"name": "shop", "kind": "integer", "ids": "vocabulary"},
    ],
}
CRITEO_SHAPE = Architecture(table_sizes=(5,) * 26, embedding_dim=2, bottom_mlp=(13, 2), top_mlp=(1,))


def state(folder: Path, value: Any) -> None:
    change(folder, "manifest.json", ("columns",), value)
    change(folder, "certificate.json", ("columns",), value)


def test_stated_columns_are_those_of_the_artifact(artifact_path: Path) -> None:
    state(artifact_path, STATEMENT)
    columns = load_artifact(artifact_path).columns
    assert columns is not None
    assert [column.name for column in columns.sparse] == ["word", "user", "shop"]
    assert columns.statement() == STATEMENT


def test_artifact_without_a_statement_has_criteos_columns_if_the_shape_is_theirs(artifact_path: Path) -> None:
    assert load_artifact(artifact_path).columns is None
    assert stated_columns({}, CRITEO_SHAPE, "x") == Columns.criteo()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense": [{"name": "n{1..12}"}]}, "the number of dense columns is 12, but bottom_mlp begins with 13"),
        ({"sparse": STATEMENT["sparse"][:2]}, "the number of sparse columns is 2, but the number of tables is 3"),
        (
            {"sparse": [*STATEMENT["sparse"][:2], STATEMENT["sparse"][1] | {"name": "x"}]},
            "column x has 7 ids, but table 2 has 25 rows",
        ),
        (
            {"sparse": [STATEMENT["sparse"][0] | {"at_most": 5, "pooling": "mean"}, *STATEMENT["sparse"][1:]]},
            "the pooling of column word is mean, but the pooling of table 0 is sum",
        ),
        ({"label": 3}, "columns: label: 3 must be text"),
        ({"more": 3}, "columns: more: 3 must be removed"),
    ],
)
def test_columns_that_do_not_fit_the_model_are_refused(
    artifact_path: Path, change: dict[str, Any], message: str
) -> None:
    state(artifact_path, STATEMENT | change)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(artifact_path)


def test_columns_that_the_certificate_denies_are_refused(artifact_path: Path) -> None:
    change(artifact_path, "manifest.json", ("columns",), STATEMENT)
    with pytest.raises(ArtifactError, match=r"the columns in certificate\.json are not those in manifest\.json"):
        load_artifact(artifact_path)
