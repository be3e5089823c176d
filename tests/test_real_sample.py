"""The first 1,000 lines of the real Terabyte logs go through all commands.

The file, if present, lies beside the checkout: its licence (CC BY-NC-SA) differs from this package's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from tests.support.commands import run, write_config

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "criteo_terabyte_day0_first1000.tsv"
SHA256 = "19925339e23c7a10bcad235f99650f75339f82b7e2b262e202c1e5b12f58f4e3"

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.skipif(not SAMPLE.is_file(), reason=f"needs the sample of the real logs, {SAMPLE}"),
    # Lightning warns about a short run's logging interval.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_sample_is_the_one_that_is_meant() -> None:
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest() == SHA256


# One file that is cut into days like the Kaggle logs, or one file per day like the Terabyte logs. The cuts leave
# clicks on both sides: 21 of the thousand lines are clicked.
@pytest.mark.parametrize("layout", ["kaggle", "terabyte"])
def test_sample_goes_the_whole_way(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, artifact, run_folder = tmp_path / "data", tmp_path / "artifact", tmp_path / "run"
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    if layout == "kaggle":
        raw = SAMPLE
    else:
        raw = tmp_path / "day"
        for day in range(2):
            (tmp_path / f"day_{day}").write_bytes(b"".join(lines[500 * day : 500 * (day + 1)]))
    assert run("preprocess", "--raw", raw, "--layout", layout, "--days", 2, "--output", data) == 0
    clicks = [line.startswith(b"1") for line in lines]
    for split, expected in (("test", clicks[500:750]), ("val", clicks[750:])):
        assert open_records(data / split_file_name(split))[:, 0].tolist() == expected  # type: ignore[arg-type]

    config = write_config(tmp_path, data, criterion={"relative": 0.2, "confidence": None}, max_trials=3)
    # 3 if so few rows happen to show a drop; the best model is saved all the same.
    assert run("fit", "-c", config) in (0, 3, 4)
    checkpoint = ("--ckpt_path", run_folder / "model.ckpt")
    assert run("quantize", "-c", config, *checkpoint, "--output", artifact) in (0, 3, 4)
    certificate = json.loads((artifact / "certificate.json").read_text())
    assert certificate["rows"] == 250
    assert certificate["positives"] == sum(clicks[500:750])
    assert certificate["int8_ops"] == {"int8_interaction": 1, "int8_linear": 4, "int8_lookup": 26}

    assert run("verify", "--artifact", artifact, "--data", data, *checkpoint) == 0
    common = ("predict", "--artifact", artifact, "--data", data)
    assert run(*common, "--output", tmp_path / "split.npy") == 0
    assert run(*common, "--raw", SAMPLE, "--output", tmp_path / "raw.npy") == 0
    # The preprocessed rows and the log itself give the same probabilities, except for the last bit: a row's position
    # in its batch determines whether its sigmoid is vectorized.
    raw_rows, split_rows = np.load(tmp_path / "raw.npy")[500:750], np.load(tmp_path / "split.npy")
    np.testing.assert_allclose(raw_rows, split_rows, rtol=4 * np.finfo(np.float32).eps)
    assert "not in the vocabulary" not in capsys.readouterr().out
