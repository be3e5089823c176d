"""The drop from quantizing each op alone, compared with scoring the whole model of that recipe."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation
from dlrm_pl.quantization.judging.judge import Judge
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import tiny
from tests.support.quantization import searches

ROWS = tiny.batches(4, 500, seed=3)
CHANGES = [
    *[(f"tables.{index}", dtype) for index in range(3) for dtype in ("int8", "int4", "fp16", "fp32")],
    *[(op, dtype) for op in ("bottom_mlp.0", "bottom_mlp.1", "top_mlp.0", "top_mlp.2") for dtype in ("int8", "bf16")],
    *[("interaction", "int8"), ("interaction", "bf16")],
]


def context_of(batches: list[ClickBatch], **architecture: object) -> searches.SearchContext:
    shape = replace(tiny.ARCHITECTURE, **architecture)  # type: ignore[arg-type]
    model = tiny.model(0, shape)
    made = searches.context()
    judge = Judge(model, AUROCEvaluation(batches), made.criterion)
    return replace(
        made,
        start=Recipe.starting_from(RecipeStart(), shape),
        model=model,
        rows=judge.rows,
        ranges=searches.ActivationRanges(model, tiny.batches(2, 64)),
        packer=searches.table_packer(model),
    )


CROSSED = {"interaction": "dcn", "cross_layers": 2, "cross_rank": 7}
CROSS_CHANGES = [(f"cross_net.{layer}.{op}", dtype) for layer in (0, 1) for op in "vw" for dtype in ("int8", "bf16")]


@pytest.mark.parametrize("layout", ["one-hot", "bags of one", "bags", "cross network"])
def test_each_alone_equals_the_whole_model_with_that_op_alone(layout: str) -> None:
    batches = [tiny.as_multi_hot(batch) for batch in ROWS] if layout == "bags of one" else ROWS
    pooling = ("mean", "sum", "mean") if layout == "bags" else ()
    shape = replace(tiny.ARCHITECTURE, pooling=pooling, **(CROSSED if layout == "cross network" else {}))  # type: ignore[arg-type]
    changes = CHANGES
    if layout in ("bags", "cross network"):
        batches = tiny.bags(4, 500, architecture=shape)
    if layout == "cross network":
        changes = [*CHANGES[:-2], *CROSS_CHANGES]  # Its interaction is fp32.
    context = context_of(batches, **{field.name: getattr(shape, field.name) for field in fields(shape)})
    found = context.sensitivities(changes, max_rows=10**6)
    fp32 = AUROCEvaluation(batches).score(context.model)
    assert fp32.logits is not None
    assert fp32.labels is not None
    for (op, dtype), sensitivity in zip(changes, found, strict=True):
        recipe = replace(Recipe.all_float(shape), bias_correction=False).with_dtype(op, dtype)
        scores = AUROCEvaluation(batches).score(context.quantize(recipe))
        assert scores.logits is not None
        expected = paired_auroc_difference(fp32.logits, scores.logits, fp32.labels)
        assert (sensitivity.op, sensitivity.dtype, sensitivity.rows) == (op, dtype, 2000)
        assert sensitivity.drop == pytest.approx(expected.difference, abs=2e-5)
        assert sensitivity.standard_error == pytest.approx(expected.standard_error, rel=0.05, abs=1e-5)
        difference = scores.logits.astype(np.float64) - fp32.logits
        assert sensitivity.logit_mse == pytest.approx(float(np.mean(difference**2)), rel=0.02, abs=1e-10)
    by_change = dict(zip(changes, found, strict=True))
    assert by_change["tables.0", "int4"].logit_mse > by_change["tables.0", "int8"].logit_mse > 0
    assert by_change["tables.0", "fp32"].logit_mse == 0


def test_they_are_measured_once_and_remembered() -> None:
    context = context_of(ROWS)
    first = context.sensitivities(CHANGES[:2], max_rows=1000)
    assert first[0].rows == 1000
    broken = replace(context, model=tiny.model(seed=5))
    assert broken.sensitivities(CHANGES[:2], max_rows=1000) == first


def test_concatenating_models_have_sensitivities_as_well() -> None:
    context = context_of(ROWS, interaction="cat")
    found = context.sensitivities([("tables.0", "int4"), ("top_mlp.0", "int8"), ("bottom_mlp.0", "int8")], 2000)
    assert all(sensitivity.logit_mse > 0 for sensitivity in found)


def test_search_with_a_score_of_the_users_has_none() -> None:
    with pytest.raises(ConfigurationError, match="this search's eval_func reads its own rows"):
        replace(searches.context(), rows=None).sensitivities(CHANGES, 100)


def test_float_model_is_left_as_it_was() -> None:
    context = context_of(ROWS)
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    context.sensitivities(CHANGES, 500)
    torch.testing.assert_close(dict(context.model.state_dict()), before, rtol=0, atol=0)


def test_change_that_cannot_be_made_counts_as_all_there_is_to_lose() -> None:
    context = context_of(ROWS)
    with torch.no_grad():
        tables_of(context)[0][:] *= 1e6  # Beyond fp16.
    found = context.sensitivities([("tables.0", "fp16"), ("tables.0", "int8")], 500)
    assert [sensitivity.drop == 1.0 for sensitivity in found] == [True, False]


def tables_of(context: searches.SearchContext) -> list[torch.Tensor]:
    return list(context.model.embedding_bags.parameters())
