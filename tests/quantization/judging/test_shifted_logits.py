"""Adding a constant to all logits does not change AUROC, even if all float32 probabilities become 1 or 0."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryAUROC

from dlrm_pl.batch import ClickBatch
from dlrm_pl.metrics.ranking import exact_auroc
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.certification import Certification, certify
from dlrm_pl.quantization.judging.criterion import Criterion, Verdict
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.judging.tuning_rows import TuningRows
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import logit_shift, quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.sensitivity.auroc_drop import Sensitivity, measure_sensitivities
from dlrm_pl.serving.output import write_predictions
from tests.support import tiny

BATCHES = tiny.batches(4, 1000, seed=3)
LABELS = torch.cat([batch.labels for batch in BATCHES])
SHIFTS = (-128.0, 24.0)
# Adding a shift rounds float32 logits to steps of 2e-6 to 8e-6, which reorders some close pairs.
ROUNDING = 2e-5


class Moved(nn.Module):
    """The tiny model with a constant added to all logits, and per-row noise that is always the same."""

    def __init__(self, shift: float, noise: float = 0.0) -> None:
        super().__init__()
        self.model, self.shift, self.noise = tiny.model(), shift, noise

    def forward(self, batch: ClickBatch) -> Tensor:
        rng = torch.Generator().manual_seed(7)
        logits: Tensor = self.model(batch)
        return logits + self.noise * torch.randn(len(logits), generator=rng) + self.shift


def moved_model(shift: float) -> DLRM:
    model = tiny.model()
    with torch.no_grad():
        model.top_mlp[-1].bias += shift  # type: ignore[operator]
    return model


def plain_logits() -> Tensor:
    with torch.no_grad():
        return torch.cat([tiny.model()(batch) for batch in BATCHES]).double()


def auroc() -> float:
    return exact_auroc(plain_logits(), LABELS)


@pytest.mark.parametrize("shift", SHIFTS)
def test_validation_and_test_rank_by_logits(shift: float) -> None:
    architecture = tiny.ARCHITECTURE
    module = DLRMModule(
        list(architecture.table_sizes),
        embedding_dim=architecture.embedding_dim,
        bottom_mlp=architecture.bottom_mlp,
        top_mlp=architecture.top_mlp,
    )
    module.model.load_state_dict(moved_model(shift).state_dict())
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    loader = torch.utils.data.DataLoader(BATCHES, batch_size=None)  # type: ignore[arg-type]
    moved = plain_logits() + shift
    log_loss = float(torch.where(LABELS == 1, -moved, moved).clamp(min=0).mean())
    for stage, run in (("val", trainer.validate), ("test", trainer.test)):
        (metrics,) = run(module, loader, verbose=False)
        assert metrics[f"{stage}_auroc"] == pytest.approx(auroc(), abs=ROUNDING)
        assert metrics[f"{stage}_log_loss"] == pytest.approx(log_loss, rel=1e-6)


def judged(shift: float) -> Verdict:
    criterion = Criterion(absolute=0.45, log_loss=None, calibration_ratio=None)
    return (
        Judge(Moved(shift), AUROCEvaluation(BATCHES), criterion)
        .judge(  # type: ignore[arg-type]
            Moved(shift, noise=0.05), lambda look: None
        )
        .verdict
    )


@pytest.mark.parametrize("shift", SHIFTS)
def test_tuning_ranks_by_logits(shift: float) -> None:
    found, plain = judged(shift), judged(0.0)
    assert found.baseline == pytest.approx(auroc(), abs=ROUNDING)
    assert found.score == pytest.approx(plain.score, abs=ROUNDING)
    assert found.drop == pytest.approx(plain.drop, abs=ROUNDING)


@pytest.mark.parametrize("shift", SHIFTS)
def test_scores_on_all_rows_rank_by_logits(shift: float) -> None:
    assert AUROCEvaluation(BATCHES)(Moved(shift)) == pytest.approx(auroc(), abs=ROUNDING)
    # torchmetrics computes in float32; its inputs are probabilities, which float64 can distinguish.
    assert AUROCEvaluation(BATCHES, BinaryAUROC())(Moved(shift)) == pytest.approx(auroc(), abs=1e-4)


def certified(shift: float) -> Certification:
    return certify(Moved(shift), Moved(shift, noise=0.05), BATCHES)


@pytest.mark.parametrize("shift", SHIFTS)
def test_certification_ranks_by_logits(shift: float) -> None:
    found, plain = certified(shift), certified(0.0)
    assert found.fp32.auroc == pytest.approx(auroc(), abs=ROUNDING)
    assert found.int8.auroc == pytest.approx(plain.int8.auroc, abs=ROUNDING)
    assert found.paired.difference == pytest.approx(plain.paired.difference, abs=ROUNDING)


def test_probabilities_too_small_for_float32_are_guarded() -> None:
    """Noise of 0.05 raises the mean of the exponential of a logit by a factor of exp(0.05 ** 2 / 2)."""
    ratio = certified(-128.0).guards(0.95, "bound", log_loss=None, calibration_ratio=0.02)[2]
    assert 0 < ratio.before < 1e-54
    assert ratio.change == pytest.approx(0.00125, abs=4 * ratio.standard_error)
    assert 0 < ratio.standard_error < 0.01


def sensitivities(shift: float) -> list[Sensitivity]:
    model = moved_model(shift)
    return measure_sensitivities(
        *(model, TuningRows(BATCHES, model), [("tables.0", "int4"), ("top_mlp.0", "int8")]),
        max_rows=4000,
        recipe=Recipe.starting_from(RecipeStart(), model.architecture),
        ranges=ActivationRanges(model, BATCHES[:1]),
        packer=table_packer(model),
    )


@pytest.mark.parametrize("shift", SHIFTS)
def test_sensitivities_rank_by_logits(shift: float) -> None:
    for found, plain in zip(sensitivities(shift), sensitivities(0.0), strict=True):
        assert found.drop == pytest.approx(plain.drop, abs=2 * ROUNDING)
        assert found.standard_error == pytest.approx(plain.standard_error, rel=0.05)


@pytest.mark.parametrize("shift", SHIFTS)
def test_bias_correction_works_where_float32_probabilities_end(shift: float) -> None:
    model = moved_model(shift)
    recipe = Recipe.starting_from(RecipeStart(tables="int4"), model.architecture)
    int8 = quantize(model, recipe, BATCHES[:1], table_packer(model))
    with torch.no_grad():
        wanted, found = (scored(BATCHES[0]).double() for scored in (model, int8))
    # On the side where they are not rounded to 1.
    sums = [float(torch.sigmoid(x if shift < 0 else -x).sum()) for x in (wanted, found)]
    assert sums[1] / sums[0] == pytest.approx(1, abs=0.001)


def test_bias_correction_of_logits_that_are_certain_is_no_larger_than_their_differences() -> None:
    """A probability of 1e-13 came out as 1 instead: extrapolating its slope would give a shift of 1e13."""

    class Certain(nn.Module):
        def forward(self, batch: ClickBatch) -> Tensor:
            return torch.tensor([30.0, 40.0])

    class Ranges:
        def sample(self) -> tuple[ClickBatch, Tensor]:
            return BATCHES[0], torch.tensor([30.0, -40.0], dtype=torch.float64)

    assert logit_shift(Certain(), Ranges()) == -80.0  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_predictions_that_float32_makes_alike_are_counted(
    ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = [np.array(values, np.float32) for values in ([0.5, 1.0], [0.0, 1e-30, 1.0])]
    with caplog.at_level(logging.WARNING):
        assert write_predictions(tmp_path / f"p.{ending}", batches) == 5
        assert write_predictions(tmp_path / f"q.{ending}", [np.array([0.5, 0.999], np.float32)]) == 2
    assert [record.message.partition(": ")[2][:48] for record in caplog.records] == [
        "3 of 5 probabilities are exactly 0 or 1, because"
    ]
