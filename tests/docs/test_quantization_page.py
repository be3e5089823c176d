"""The tables of docs/quantization.md, docs/certificates.md and the guide to strategies are complete."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.loading.split_loaders import CALIBRATION_ROWS
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import Observer, RecipeStart
from dlrm_pl.quantization.search.space import SpaceSettings
from dlrm_pl.quantization.search.strategies import STRATEGIES
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "quantization.md").read_text()


def test_every_strategy_is_in_the_table() -> None:
    guide = (ROOT / "docs" / "guides" / "choosing_a_strategy.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`(?: \(default\))? \|", guide, re.MULTILINE)) == set(STRATEGIES)
    advice = guide.partition("## In short")[2].partition("## ")[0]
    assert set(re.findall(r"^\| [^|]+\| `(\w+)`", advice, re.MULTILINE)) == set(STRATEGIES)
    measured = (ROOT / "docs" / "measurements" / "tuning.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| \d", measured, re.MULTILINE)) == set(STRATEGIES)


@pytest.mark.parametrize("settings", [QuantizationCallback, RecipeStart, Criterion, SpaceSettings])
def test_every_setting_is_among_all_settings(settings: type) -> None:
    section = PAGE.partition("## All settings")[2].partition("## Strategies")[0]
    for name in inspect.signature(settings).parameters.keys() - {"until"}:  # An earlier name that still works.
        assert re.search(rf"\b{name}:", section), name


def test_files_of_an_artifact_are_those_of_the_page(quickstart: Path) -> None:
    written = {path.name for path in (quickstart / "artifacts" / "quickstart").iterdir()}
    for name in re.findall(r"^\| `([\w]+\.[\w]+)` \|", PAGE, re.MULTILINE):
        assert name in written
    formats = (ROOT / "docs" / "formats.md").read_text()
    for name in written:
        assert f"`{name}`" in formats or name.startswith("table-"), name


def test_files_of_a_dataset_are_those_of_the_page(quickstart: Path) -> None:
    formats = (ROOT / "docs" / "formats.md").read_text()
    for path in (quickstart / "datasets" / "quickstart").iterdir():
        stem = re.sub(r"(train|val|test)|\d+", "*", path.name)
        known = {re.sub(r"(train|val|test)|\d+", "*", name) for name in re.findall(r"`([\w.]+)`", formats)}
        assert stem in known, path.name


def test_observers_and_calibration_rows_are_those_of_the_program() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert all(f"`{observer}`" in glossary for observer in get_args(Observer))
    assert f"{CALIBRATION_ROWS:,} rows of val" in (ROOT / "docs" / "certificates.md").read_text()
