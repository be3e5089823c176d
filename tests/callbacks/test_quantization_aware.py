"""Quantization-aware training trains the model that is later quantized, also after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import dlrm_pl
from dlrm_pl.callbacks.quantization_aware import QuantizationAwareTraining
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import CheckpointError, ConfigurationError
from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.aware.forward import RoundedForward
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.ptq.trained import TrainedQuantization
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support.training import assert_same_weights, click_module, loader, make_batches, make_module, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

INT4 = RecipeStart(tables="int4")


def aware(first_step: int = 0, every: int = 4, recipe: RecipeStart = INT4) -> QuantizationAwareTraining:
    return QuantizationAwareTraining(recipe, first_step, every)


def fit(module: DLRMModule, data: DLRMDataModule, callback: QuantizationAwareTraining | None, **options: Any) -> Any:
    callbacks = [] if callback is None else [callback]
    path = options.pop("ckpt_path", None)
    trainer = quiet_trainer(**({"callbacks": callbacks, "max_epochs": 1, "enable_checkpointing": False} | options))
    trainer.fit(module, datamodule=data, ckpt_path=path)
    return trainer


def int8_model(module: DLRMModule, data: DLRMDataModule) -> Int8DLRM:
    found = TrainedQuantization.of(module.model)
    assert found is not None
    model = module.model.eval()
    ranges = ActivationRanges(model, data.calibration_dataloader())
    return quantize(model, found.recipe, ranges, table_packer(model))


def test_validation_scores_the_model_that_quantize_makes(module: DLRMModule, data: DLRMDataModule) -> None:
    trainer = fit(module, data, aware())
    assert module.rounded_forward is None  # The module uses its float weights again.
    metric, int8 = ExactAUROC(), int8_model(module, data)
    for batch in data.val_dataloader():
        metric.update(int8(batch), batch.known_labels)
    assert float(trainer.callback_metrics["val_auroc"]) == pytest.approx(float(metric.compute()), abs=1e-4)


def test_quantize_begins_with_the_trained_recipe_and_keeps_its_ranges(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    fit(module, data, aware())
    with torch.no_grad():  # Newly observed ranges would differ.
        for weight in module.model.bottom_mlp.parameters():
            weight.mul_(1.5)
    settings = TuningSettings(criterion=Criterion(relative=0.9), max_trials=1)
    outcome = dlrm_pl.quantize(module, data, tmp_path / "int8", settings=settings)
    found = TrainedQuantization.of(module.model)
    assert found is not None
    assert outcome.tuning.best.recipe == found.recipe
    assert set(found.recipe.tables) == {"int4"}
    assert not found.recipe.bias_correction
    model = dlrm_pl.load_artifact(outcome.path).model
    rounded = RoundedForward(module.model, found)
    for batch in data.test_dataloader():
        torch.testing.assert_close(model(batch), rounded(batch).detach(), rtol=0, atol=0.05)


def test_a_recipe_of_the_settings_replaces_the_trained_one(
    module: DLRMModule, data: DLRMDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    from dlrm_pl.quantization.search.start import first_recipe

    fit(module, data, aware())
    recipe = first_recipe(module.model, TuningSettings(recipe=RecipeStart(tables="fp16")))
    assert set(recipe.tables) == {"fp16"}
    assert set(first_recipe(module.model, TuningSettings()).tables) == {"int4"}


def test_the_checkpoint_states_what_was_trained(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    trainer = fit(module, data, aware())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = dlrm_pl.load_checkpoint(tmp_path / "model.ckpt")
    assert loaded.model.trained_quantization == module.model.trained_quantization
    plain = click_module(data)
    fit(plain, data, None).save_checkpoint(tmp_path / "plain.ckpt")
    assert "dlrm_pl_quantization" not in torch.load(tmp_path / "plain.ckpt", weights_only=True)


@pytest.mark.parametrize("steps", [1, 2])
def test_going_on_from_a_checkpoint_gives_the_same_bits(data: DLRMDataModule, tmp_path: Path, steps: int) -> None:
    """Ranges are observed at steps 1 and 4; the run ends in between, or in the middle of accumulated batches."""
    options: dict[str, Any] = {"limit_val_batches": 0, "accumulate_grad_batches": steps}
    whole, cut, resumed = (click_module(data) for _ in range(3))
    fit(whole, data, aware(1, 3), max_steps=6, **options)
    fit(cut, data, aware(1, 3), max_steps=3, **options).save_checkpoint(tmp_path / "cut.ckpt")
    fit(resumed, data, aware(1, 3), max_steps=6, ckpt_path=tmp_path / "cut.ckpt", **options)
    assert_same_weights(whole, resumed)
    assert whole.model.trained_quantization == resumed.model.trained_quantization
    assert cut.model.trained_quantization != resumed.model.trained_quantization


def test_before_the_first_step_the_float_model_is_trained(data: DLRMDataModule) -> None:
    one, other = click_module(data), click_module(data, engine="torch")
    fit(one, data, aware(3), max_steps=3)
    fit(other, data, None, max_steps=3)
    assert_same_weights(one, other)
    assert one.model.trained_quantization is None


def test_rounding_changes_what_is_trained(data: DLRMDataModule) -> None:
    one, other = click_module(data), click_module(data)
    fit(one, data, aware(), max_steps=3)
    fit(other, data, None, max_steps=3)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_float_linears_need_no_calibration_rows() -> None:
    module = make_module()
    start = RecipeStart(linears="fp32", tables="int4", interaction="fp32")
    trainer = quiet_trainer(callbacks=[aware(recipe=start)], max_epochs=1, enable_checkpointing=False)
    trainer.fit(module, loader(make_batches(2)))
    assert TrainedQuantization.of(module.model) is not None


def test_a_data_module_without_calibration_rows_is_refused() -> None:
    trainer = quiet_trainer(callbacks=[aware()], max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ConfigurationError, match="the data module has no calibration_dataloader"):
        trainer.fit(make_module(), loader(make_batches(2)))


def test_a_checkpoint_of_another_recipe_is_refused(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    fit(module, data, aware(), max_steps=2).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ConfigurationError, match=r"trained with the recipe .* 26 int4;.* has .* 26 int8;"):
        fit(click_module(data), data, aware(recipe=RecipeStart()), max_steps=4, ckpt_path=tmp_path / "a.ckpt")


def test_training_on_without_rounding_forgets_the_quantization(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(module, data, aware(), max_steps=2).save_checkpoint(tmp_path / "a.ckpt")
    other = click_module(data, engine="torch")
    fit(other, data, None, max_steps=4, ckpt_path=tmp_path / "a.ckpt")
    assert "training continues without" in caplog.text
    assert other.model.trained_quantization is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": {"tables": ["int4"]}}, "no valid recipe"),
        ({"ranges": {"bottom_mlp": [[0.0, 1.0]]}}, r"ranges for \{'bottom_mlp': 1\} activations, but the model has"),
        ({"ranges": {"bottom_mlp": [["a", 1.0]]}}, r"ranges\.bottom_mlp\.0\.0: 'a' must be a number"),
        ({"other": 1}, "other: 1 must be removed"),
    ],
)
def test_a_damaged_statement_is_refused(
    module: DLRMModule, data: DLRMDataModule, change: dict[str, Any], message: str
) -> None:
    recipe = dataclasses.replace(aware()._recipe_of(module))
    stated = {"recipe": recipe.to_dict(), "ranges": {"bottom_mlp": [[0.0, 1.0]] * 2, "top_mlp": [[0.0, 1.0]] * 2}}
    module.model.trained_quantization = stated
    assert TrainedQuantization.of(module.model) is not None
    module.model.trained_quantization = stated | change
    with pytest.raises(CheckpointError, match=message):
        TrainedQuantization.of(module.model)


def test_a_statement_of_another_model_is_refused(module: DLRMModule, data: DLRMDataModule) -> None:
    module.model.trained_quantization = {"recipe": aware()._recipe_of(make_module()).to_dict(), "ranges": {}}
    with pytest.raises(CheckpointError, match="names 8 ops, but the model has 29"):
        TrainedQuantization.of(module.model)


def test_tables_that_are_read_by_halves_are_refused() -> None:
    trainer = quiet_trainer(callbacks=[aware()], max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ConfigurationError, match="but table_format='split' rounds them in another way"):
        trainer.fit(make_module(table_format="split"), loader(make_batches(2)))
