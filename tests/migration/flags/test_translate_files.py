"""Raw logs and processed files of the upstream scripts become a dataset folder and the commands to prepare it."""

from __future__ import annotations

import pytest

from tests.support.flags import commands, config

KAGGLE = "--layout kaggle --max_ind_range 0"


BINARY = "--memory-map --mlperf-logging --mlperf-bin-loader"


@pytest.mark.parametrize(
    ("files", "folder", "preprocess"),
    [
        ("in/train.txt", "in/kaggleAdDisplayChallenge_processed", f"--raw in/train.txt --output {{}} {KAGGLE}"),
        ("in/train.txt ./in/k.npz", "./in/k", f"--raw in/train.txt --output {{}} {KAGGLE}"),
        (" k.npz", "k", f"--raw k.npz --output {{}} {KAGGLE}"),
        ("$raw ${made}", "${made}_dataset", f"--raw $raw --output {{}} {KAGGLE}"),
    ],
)
def test_kaggle_files_become_a_folder(files: str, folder: str, preprocess: str) -> None:
    check_files(files, "", folder, preprocess)


@pytest.mark.parametrize(
    ("files", "flags", "folder", "preprocess"),
    [
        (
            "/t/day",
            "--max-ind-range=10000000 --data-sub-sample-rate=0.875",
            "/t/terabyte_processed",
            "--raw /t/day --output {} --max_ind_range 10000000 --subsample_rate 0.875",
        ),
        (
            "/t/day",
            "--data-randomize=day --numpy-rand-seed=7",
            "/t/terabyte_processed",
            "--raw /t/day --output {} --max_ind_range 0 --seed 7 --randomize day",
        ),
        (
            "/t/day",
            "--data-randomize=nothing",
            "/t/terabyte_processed",
            "--raw /t/day --output {} --max_ind_range 0 --randomize none",
        ),
        (" /b/tb.npz", BINARY, "/b/tb", "--raw /b --output {} --max_ind_range 0"),
        ("/t/day /b/tb.npz", BINARY, "/b/tb", "--raw /t/day --output {} --max_ind_range 0"),
    ],
)
def test_terabyte_files_become_a_folder(files: str, flags: str, folder: str, preprocess: str) -> None:
    check_files(files, f"--data-set=terabyte {flags}", folder, preprocess)


def check_files(files: str, flags: str, folder: str, preprocess: str) -> None:
    raw, _, processed = files.partition(" ")
    words = ("dlrm_s_pytorch.py --data-generation=dataset", flags)
    words += tuple(f"--{name}-data-file={path}" for name, path in (("raw", raw), ("processed", processed)) if path)
    assert config(*words)["data"]["folder"] == folder
    assert commands(*words)[0] == f"preprocess {preprocess.format(folder)}"
