"""Descriptions are written once, in a dataclass, and appear in the help of everything that takes its fields."""

from __future__ import annotations

import inspect

import pytest

from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.documents.docstrings import attribute_descriptions, describes_arguments_by
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.trainer import DLRMTrainer
from dlrm_pl.workflow.config import QuantizationConfig


class Source:
    """A source.

    Attributes:
        first: described on
            two lines.
        second: described: once.

    Raises:
        ValueError: never.
    """


def test_descriptions_are_read_by_attribute() -> None:
    assert attribute_descriptions(Source) == {"first": "described on two lines.", "second": "described: once."}


def test_arguments_are_described_in_the_order_of_the_signature_and_own_words_win() -> None:
    @describes_arguments_by(Source)
    def function(second: int, own: int, first: int) -> None:
        """Summary.

        Args:
            own: by itself.
            first: in its own words.

        Raises:
            ValueError: always.
        """

    lines = (inspect.getdoc(function) or "").splitlines()
    assert [line.strip() for line in lines if line.startswith("    ")] == [
        "second: described: once.",
        "own: by itself.",
        "first: in its own words.",
        "ValueError: always.",
    ]


def test_a_function_without_a_docstring_stays_without() -> None:
    @describes_arguments_by(Source)
    def function(first: int) -> None: ...

    assert function.__doc__ is None


@pytest.mark.parametrize("name", ["timeout_s", "max_trials", "strategy", "objective", "seed"])
def test_a_setting_is_described_once(name: str) -> None:
    written = attribute_descriptions(TuningSettings)[name]
    for documented in (QuantizationCallback, DLRMTrainer.quantize):
        assert f"{name}: {written}" in " ".join((documented.__doc__ or "").split())


def test_every_argument_is_described() -> None:
    for documented in (QuantizationCallback, DLRMTrainer.quantize):
        text = documented.__doc__ or ""
        for name in inspect.signature(documented).parameters:
            assert name == "self" or f"\n    {name}: " in text, name


def test_the_sources_describe_every_field() -> None:
    for source in (TuningSettings, QuantizationConfig, Criterion):
        assert set(attribute_descriptions(source)) == set(source.__dataclass_fields__)  # type: ignore[attr-defined]
