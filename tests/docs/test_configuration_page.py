"""docs/configuration.md has every key that the program reads, as the program reads it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Literal

import pytest
import yaml

import dlrm_pl
from docs.mkdocs.configuration_page import MARKER, PAGE, SECTIONS, generated, keys_of, type_name
from tests.docs.pages import ROOT
from tests.docs.running import run_command

pytestmark = pytest.mark.untraced

HINT = "write the page again: python -m docs.mkdocs.configuration_page"


def test_keys_are_those_of_the_code() -> None:
    assert PAGE.read_text().partition(MARKER)[2].strip() == generated().strip(), HINT


def test_every_key_that_a_run_prints_is_on_the_page() -> None:
    status, output = run_command(["fit", "-c", "quickstart", "--print_config"])
    assert status == 0, output
    printed = yaml.safe_load(output)
    text = PAGE.read_text()
    for group in ("data", "model"):
        assert printed[group]
        for name in printed[group]:
            from_data = group == "model" and name in ("table_sizes", "dataset_fingerprint", "columns")
            assert from_data or f"| `{group}.{name}` |" in text, name
    (callback,) = (one for one in printed["trainer"]["callbacks"] if one["class_path"].endswith("QuantizationCallback"))
    for name, value in callback["init_args"].items():
        nested = [f"{name}.{inner}" for inner in value] if isinstance(value, dict) and value else [name]
        assert name == "until" or all(f"| `{key}` |" in text for key in nested), name


def test_every_setting_has_a_meaning_and_no_two_sections_share_one() -> None:
    for section in SECTIONS:
        keys = keys_of(section)
        assert keys
        assert all(key.text and key.type and key.default for key in keys), section.title
    names = [(section.prefix, key.name) for section in SECTIONS if section.prefix for key in keys_of(section)]
    assert len(names) == len(set(names))


def test_keys_of_every_file_of_configs_are_on_the_page() -> None:
    text = PAGE.read_text()
    seen = 0
    for group, pattern in (("data", "configs/data/*.yaml"), ("model", "configs/model/*.yaml")):
        for path in ROOT.glob(pattern):
            for name in yaml.safe_load(path.read_text()):
                seen += 1
                assert f"| `{group}.{name.rstrip('+')}` |" in text, f"{path.name}: {name}"
    assert seen > 20


def test_parameters_of_the_callbacks_are_all_there() -> None:
    for made in (dlrm_pl.MLPerfLogging, dlrm_pl.ThroughputMonitor):
        (section,) = (one for one in SECTIONS if one.made is made)
        assert [key.name for key in keys_of(section)] == list(inspect.signature(made).parameters)


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int | None, "integer or null"),
        (str | Path, "path"),
        (list[float], "list of numbers"),
        (Literal["a", "b"], "`a`, `b`"),
        (dict[str, bool], "mapping to true or false"),
    ],
)
def test_types_have_the_words_of_yaml(hint: object, name: str) -> None:
    assert type_name(hint) == name


def test_no_word_of_python_stands_in_the_meanings() -> None:
    table = PAGE.read_text().partition(MARKER)[2]
    assert not re.search(r"\bNone\b|``|typing\.", table)
