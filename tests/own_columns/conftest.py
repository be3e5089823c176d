"""Two logs with columns other than Criteo's, generated and processed end to end once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.support.logs.click_tables import AVAZU, SHOP, avazu_table, shop_table, write_csv, write_parquet
from tests.support.logs.own_columns import Log, fit, preprocess, write_columns

DAYS = 3


@pytest.fixture(scope="session")
def avazu_files(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """One compressed CSV file with three days, like the challenge's train.gz."""
    folder = tmp_path_factory.mktemp("avazu")
    days = [avazu_table(1500, seed=day, first_day=21 + day) for day in range(DAYS)]
    columns = write_columns(AVAZU, folder / "columns.yaml")
    return Log(write_csv(pa.concat_tables(days), folder / "train.csv.gz"), columns, days, folder, "hour[:6]")


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A folder with one Parquet file per day, with lists, floats and texts in several scripts."""
    folder = tmp_path_factory.mktemp("shop")
    days = [shop_table(1500, seed=day, day=1 + day) for day in range(DAYS)]
    columns = write_columns(SHOP, folder / "columns.yaml")
    return Log(write_parquet(days, folder / "clicks"), columns, days, folder, "time")


@pytest.fixture(scope="session")
def avazu(avazu_files: Log) -> Log:
    """The log with a dataset folder, a checkpoint and an artifact."""
    preprocess(avazu_files, avazu_files.dataset, "--randomize", "none")
    fit(avazu_files)
    return avazu_files


@pytest.fixture(scope="session")
def shop(shop_files: Log) -> Log:
    """The log with a dataset folder, a checkpoint and an artifact."""
    preprocess(shop_files, shop_files.dataset, "--randomize", "none")
    fit(shop_files)
    return shop_files


@pytest.fixture(params=["avazu", "shop"])
def log(request: pytest.FixtureRequest) -> Log:
    """Each of the two logs."""
    found: Log = request.getfixturevalue(request.param)
    return found
