"""The int8 model compared with torch.ao's own converted model, and the parts shared with the float model."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CalibrationError, ConfigurationError, NonFiniteError
from dlrm_pl.kernels.int8.dtypes import InteractionDtype
from dlrm_pl.quantization.ptq import torch_ao
from dlrm_pl.quantization.ptq.calibration import ActivationRanges, calibrate
from dlrm_pl.quantization.ptq.eager import eager_int8_model
from dlrm_pl.quantization.ptq.prepare import prepare
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.int8_dlrm import count_int8_ops
from dlrm_pl.runtime.linear import FloatLinear, Int8Linear, segments
from dlrm_pl.runtime.tables import PackedTables
from tests.support import tiny
from tests.support.quantization.eager import plain_layers

START = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)


@pytest.mark.each_value
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("observer", ["minmax", "histogram"])
def test_lowered_layers_equal_torch_ao_within_one_step(granularity: str, scheme: str, observer: str) -> None:
    start = RecipeStart(observer=observer, activation_scheme=scheme, weight_granularity=granularity)  # type: ignore[arg-type]
    recipe = Recipe.starting_from(start, tiny.ARCHITECTURE)
    model, calibration = tiny.model(), tiny.batches(3, 64)
    packer = table_packer(model)
    tables = PackedTables(packer.packed(recipe.tables), recipe.tables, 8)
    converted = eager_int8_model(model, recipe, tables, calibration)
    lowered = quantize(model, recipe, calibration, packer)
    batch = tiny.batches(1, 200, seed=5)[0]
    with torch.no_grad():
        for name, x in (("bottom_mlp", batch.dense), ("top_mlp", torch.randn(200, 14))):
            eager, ours = getattr(converted, name), nn.Sequential(*segments(list(getattr(lowered, name))))
            # torch.ao rounds its output to a step, ours does not; another step for roundings on the edge inside.
            last = eager[0][-2]
            step, zero_point = float(last.scale), int(last.zero_point)
            low, high = -zero_point * step, (255 - zero_point) * step
            difference = (eager(x) - ours(x).clamp(low, high)).abs().max().item()
            assert difference <= 1.5 * step + 1e-6


def test_logits_of_the_served_model_are_not_rounded_to_256_values() -> None:
    model, calibration = tiny.model(), tiny.batches(3, 64)
    lowered = quantize(model, START, calibration, table_packer(model))
    batch = tiny.batches(1, 2000, seed=5)[0]
    assert len(torch.unique(lowered(batch))) > 1000


def test_int8_model_is_close_to_the_float_model() -> None:
    model, calibration = tiny.model(), tiny.batches(4, 128)
    batch = tiny.batches(1, 2000, seed=5)[0]
    lowered = quantize(model, START, calibration, table_packer(model))
    with torch.no_grad():
        fp32, int8 = model(batch), lowered(batch)
    signal, noise = (fp32 - fp32.mean()).pow(2).sum(), (int8 - fp32).pow(2).sum()
    sqnr_db = 10 * float(torch.log10(signal / noise))
    # Six layers of 8 bits each in a small net; a wrong zero point or scale gives below 5 dB.
    assert sqnr_db > 25


def test_multi_hot_batch_scores_as_its_one_hot_equivalent() -> None:
    model, calibration = tiny.model(), tiny.batches(2, 64)
    lowered = quantize(model, START, calibration, table_packer(model))
    batch = calibration[0]
    torch.testing.assert_close(lowered(batch), lowered(tiny.as_multi_hot(batch)), rtol=0, atol=0)


@pytest.mark.parametrize("interaction", ["int8", "fp32"])
def test_averaged_bags_score_as_in_the_float_model(interaction: InteractionDtype) -> None:
    architecture = replace(tiny.ARCHITECTURE, pooling=("mean", "sum", "mean"))
    model, calibration = tiny.model(0, architecture), tiny.bags(2, 64, architecture=architecture)
    recipe = replace(START, interaction=interaction)
    lowered = quantize(model, recipe, calibration, table_packer(model))
    summing = quantize(tiny.model(), recipe, calibration, table_packer(model))
    batch = tiny.bags(1, 500, seed=5)[0]
    with torch.no_grad():
        fp32, int8 = model(batch), lowered(batch)
        assert not torch.allclose(summing(batch), int8, atol=1e-3)
    signal, noise = (fp32 - fp32.mean()).pow(2).sum(), (int8 - fp32).pow(2).sum()
    assert 10 * float(torch.log10(signal / noise)) > 20


def test_batch_size_does_not_change_a_score() -> None:
    model, calibration = tiny.model(), tiny.batches(2, 64)
    lowered = quantize(model, START, calibration, table_packer(model))
    batch = tiny.batches(1, 33, seed=9)[0]
    alone = [
        lowered(batch._replace(dense=batch.dense[i : i + 1], indices=batch.indices[:, i : i + 1].contiguous()))
        for i in range(33)
    ]
    torch.testing.assert_close(torch.cat(alone), lowered(batch), rtol=1e-6, atol=1e-6)


def test_the_ops_that_run_are_those_of_the_recipe() -> None:
    """The tool that this package replaces benchmarked its fp32 model as int8 for two years."""
    model, calibration = tiny.model(), tiny.batches(2, 64)
    lowered = quantize(model, START, calibration, table_packer(model))
    expected = {"int8_interaction": 1, "int8_linear": 5, "int8_lookup": 3}
    assert count_int8_ops(lowered, calibration[0]) == expected == lowered.expected_int8_ops()
    assert count_int8_ops(model, calibration[0]) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("op", [*START.ops])
def test_every_op_can_fall_back_alone(op: str) -> None:
    model, calibration = tiny.model(), tiny.batches(2, 64)
    packer = table_packer(model)
    for dtype in ("fp16", "fp32", "int4") if op.startswith("tables") else ("bf16", "fp32"):
        lowered = quantize(model, START.with_dtype(op, dtype), calibration, packer)
        assert lowered.op_dtypes == START.ops | {op: dtype}
        assert count_int8_ops(lowered, calibration[0]) == lowered.expected_int8_ops()
        with torch.no_grad():
            assert (lowered(calibration[0]) - model(calibration[0])).abs().mean() < 0.1


def test_all_float_recipe_equals_the_float_model() -> None:
    recipe = Recipe.starting_from(RecipeStart(linears="fp32", tables="fp32"), tiny.ARCHITECTURE)
    model, calibration = tiny.model(), tiny.batches(1, 64)
    lowered = quantize(model, recipe, calibration, table_packer(model))
    with torch.no_grad():
        torch.testing.assert_close(lowered(calibration[0]), model(calibration[0]))


def test_float_model_is_left_as_it_was() -> None:
    model, calibration = tiny.model(), tiny.batches(2, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = [name for name, _ in model.named_modules()]
    quantize(model, START, calibration, table_packer(model))
    assert [name for name, _ in model.named_modules()] == names
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_fp32_tables_are_shared_with_the_trial() -> None:
    recipe = Recipe.starting_from(RecipeStart(tables="fp32"), tiny.ARCHITECTURE)
    model = tiny.model()
    lowered = quantize(model, recipe, tiny.batches(1, 64), table_packer(model))
    for index, table in enumerate(model.embedding_bags.parameters()):  # type: ignore[union-attr,arg-type]
        assert lowered.tables.table(index).data_ptr() == table.data_ptr()


def test_prepare_inserts_stubs_and_fuses_linear_with_relu() -> None:
    model = tiny.model()
    prepared = prepare(model, START, PackedTables(table_packer(model).packed(START.tables), START.tables, 8))
    kinds = [type(module).__name__ for module in next(iter(prepared.top_mlp.children())).children()]
    assert kinds == ["QuantStub", "LinearReLU", "LinearReLU", "Linear", "DeQuantStub"]


def test_float_layer_in_the_middle_splits_the_segment() -> None:
    model = tiny.model()
    recipe = START.with_dtype("top_mlp.1", "bf16")
    lowered = quantize(model, recipe, tiny.batches(2, 64), table_packer(model))
    first, middle, last = lowered.top_mlp.children()
    assert isinstance(first, Int8Linear)
    assert isinstance(middle, FloatLinear)
    assert isinstance(last, Int8Linear)
    assert first.output_scale is None  # Hands over floats.
    assert last.quantizes_input


def test_calibration_without_rows_is_rejected() -> None:
    model = tiny.model()
    with pytest.raises(CalibrationError, match="no rows"):
        quantize(model, START, [], table_packer(model))


def test_observer_that_saw_nothing_is_named() -> None:
    model = tiny.model()
    tables = PackedTables(table_packer(model).packed(START.tables), START.tables, 8)
    with pytest.raises(CalibrationError, match=r"observer bottom_mlp\.0\.0.*saw no data with a finite range"):
        torch_ao.convert(prepare(model, START, tables))


def test_nan_in_calibration_is_rejected() -> None:
    model, (batch,) = tiny.model(), tiny.batches(1, 16)
    with torch.no_grad():
        next(model.bottom_mlp.parameters()).fill_(float("nan"))
    with pytest.raises(CalibrationError, match="nan"):
        quantize(model, START, [batch], table_packer(model))


def test_nan_in_a_table_is_rejected() -> None:
    model = tiny.model()
    with torch.no_grad():
        model.embedding_bags.tables[1].weight[3, 2] = float("nan")  # type: ignore[union-attr,index]
    with pytest.raises(NonFiniteError, match="table 1: 1 of 7 rows, the first is row 3"):
        quantize(model, START, tiny.batches(1, 16), table_packer(model))


def test_recipe_for_another_network_is_rejected() -> None:
    model = tiny.model()
    wrong = Recipe(bottom_mlp=("int8",), top_mlp=START.top_mlp, tables=START.tables)
    with pytest.raises(ConfigurationError, match="1 Linears for bottom_mlp, but the model has 2"):
        quantize(model, wrong, tiny.batches(1, 16), table_packer(model))


def test_calibration_counts_its_rows() -> None:
    model = tiny.model()
    assert calibrate(model, tiny.batches(3, 20)) == 60


def test_scores_are_finite_for_extreme_inputs() -> None:
    model = tiny.model()
    lowered = quantize(model, START, tiny.batches(2, 64), table_packer(model))
    batch = tiny.batches(1, 8)[0]
    assert np.isfinite(lowered(batch._replace(dense=torch.full((8, 13), 1e6))).numpy()).all()


def test_inputs_beyond_the_calibrated_range_stop_at_the_largest_step() -> None:
    model = tiny.model()
    lowered = quantize(model, START, tiny.batches(2, 64), table_packer(model))
    first = [layer for layer in lowered.layers.values() if isinstance(layer, Int8Linear) and layer.quantizes_input]
    assert len(first) == 2
    for mlp in (lowered.bottom_mlp, lowered.top_mlp):
        (chain,) = segments(list(mlp))  # type: ignore[arg-type]
        layer = mlp[0]
        largest = (255 - layer.input_zero_point) * layer.input_scale
        width = layer.weight.shape[1]
        assert torch.equal(chain(torch.full((1, width), 1e6)), chain(torch.full((1, width), largest)))


@pytest.mark.parametrize("last", ["int8", "fp32"])
def test_probabilities_of_calibration_rows_add_up_to_the_float_models(last: str) -> None:
    model, calibration = tiny.model(), tiny.batches(2, 500)
    recipe = replace(START.with_dtype("top_mlp.2", last), tables=("int4",) * 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def off(recipe: Recipe) -> float:
        lowered = quantize(model, recipe, calibration, table_packer(model))
        with torch.no_grad():
            sums = [float(torch.sigmoid(scored(calibration[0])).double().sum()) for scored in (lowered, model)]
        return abs(sums[0] / sums[1] - 1)

    assert off(recipe) < 0.05 * off(replace(recipe, bias_correction=False))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_bias_correction_leaves_the_order_of_scores_as_it_is() -> None:
    model, calibration = tiny.model(), tiny.batches(2, 64)
    batch = tiny.batches(1, 500, seed=5)[0]
    with torch.no_grad():
        plain, shifted = (
            quantize(model, replace(START, bias_correction=wanted), calibration, table_packer(model))(batch)
            for wanted in (False, True)
        )
    torch.testing.assert_close(shifted - plain, (shifted - plain).mean().expand(500), rtol=1e-3, atol=2e-6)
    assert float((shifted - plain).abs().mean()) > 1e-5


@pytest.mark.parametrize("observer", ["minmax", "kl", "percentile", "histogram"])
def test_ranges_read_once_are_those_that_each_recipe_would_read(observer: str) -> None:
    """Compared for every place where an int8 segment can begin and end."""
    model, calibration = tiny.model(), tiny.batches(3, 64)
    start = RecipeStart(observer=observer, tables="fp32")  # type: ignore[arg-type]
    whole = Recipe.starting_from(start, tiny.ARCHITECTURE)
    shared = ActivationRanges(model, calibration)
    for fallen in ([], ["top_mlp.1"], ["top_mlp.0", "bottom_mlp.1"], ["top_mlp.2"]):
        recipe = whole
        for op in fallen:
            recipe = recipe.with_dtype(op, "fp32")
        recipe = replace(recipe, bias_correction=False)
        made = quantize(model, recipe, shared, table_packer(model))
        own = eager_int8_model(model, recipe, model.embedding_bags, calibration)
        for part in ("bottom_mlp", "top_mlp"):
            ours, expected = list(getattr(made, part)), plain_layers(getattr(own, part))
            assert [vars(layer).get("input_scale") for layer in ours] == [
                vars(layer).get("input_scale") for layer in expected
            ]
            torch.testing.assert_close(
                nn.ModuleList(ours).state_dict(), nn.ModuleList(expected).state_dict(), rtol=0, atol=0
            )


def test_calibration_rows_are_read_once_a_kind_of_observer() -> None:
    reads: list[int] = []

    class Batches:
        def __iter__(self) -> Iterator[ClickBatch]:
            reads.append(1)
            return iter(tiny.batches(2, 64))

    model = tiny.model()
    ranges = ActivationRanges(model, Batches())  # type: ignore[arg-type]
    for scheme in ("affine", "symmetric"):
        recipe = replace(START, activation_scheme=scheme)  # type: ignore[arg-type]
        quantize(model, recipe, ranges, table_packer(model))
        quantize(model, recipe.with_dtype("top_mlp.1", "bf16"), ranges, table_packer(model))
    assert len(reads) == 1  # For the observers; the logits for the bias are collected with them.
