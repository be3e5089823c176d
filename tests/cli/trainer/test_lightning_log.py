"""Messages that Lightning logs in every run are left to --verbose; all others are shown."""

from __future__ import annotations

import logging
import warnings

import pytest
import pytorch_lightning as pl
from lightning_fabric.utilities.rank_zero import rank_zero_info, rank_zero_warn

from dlrm_pl.cli.output import Verbosity
from dlrm_pl.cli.trainer.lightning_log import show_lightnings_lines
from tests.support.training import loader, make_batches, make_module


@pytest.fixture(autouse=True)
def as_before() -> object:
    parts = ("", ".utilities.rank_zero", ".utilities.seed")
    names = [f"{name}{part}" for name in ("pytorch_lightning", "lightning_fabric") for part in parts]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, list(logger.filters)) for logger in loggers]
    yield
    for logger, (level, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.filters[:] = filters


def said(verbosity: Verbosity, caplog: pytest.LogCaptureFixture) -> str:
    """Return what Lightning logs during a training, and other messages that it may log."""
    show_lightnings_lines(verbosity)
    caplog.clear()
    pl.seed_everything(5)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    for limits in ({"max_epochs": 1}, {"max_steps": 1}):
        trainer = pl.Trainer(enable_model_summary=False, **options, **limits)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(make_module(), loader(make_batches(2)))
    rank_zero_info("Restoring states from the checkpoint")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").warning("GPU available: but broken")
    return caplog.text


def test_what_every_run_says_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    text = said(Verbosity(), caplog)
    for words in ("Seed set", "TPU available", "used: False", "`max_epochs=1`", "seamless"):
        assert words not in text
    for words in ("Restoring states", "`max_steps=1` reached", "GPU available: but broken"):
        assert words in text


def test_other_processes_do_not_say_it_either(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_fabric.utilities.seed.rank_prefixed_message", lambda text, rank: f"[rank: 1] {text}")
    text = said(Verbosity(), caplog)
    assert "Seed set" not in text


def test_verbose_shows_all_but_advertisements(caplog: pytest.LogCaptureFixture) -> None:
    said(Verbosity(), caplog)
    text = said(Verbosity(verbose=True), caplog)
    for words in ("Seed set to 5", "TPU available", "`max_epochs=1` reached", "Restoring states"):
        assert words in text
    assert "seamless" not in text


def test_quiet_shows_warnings_alone(caplog: pytest.LogCaptureFixture) -> None:
    text = said(Verbosity(quiet=True), caplog)
    assert "GPU available: but broken" in text
    assert "max_steps" not in text


def test_warnings_of_lightning_are_shown() -> None:
    show_lightnings_lines(Verbosity())
    with pytest.warns(UserWarning, match="GPU available but not used"):
        rank_zero_warn("GPU available but not used")
