"""A native training step compared with float64 autograd, for every kind of processor that can run here."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ShapeError
from dlrm_pl.kernels.training.native import NativeStep
from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import level_in_use, levels
from dlrm_pl.kernels.training.steps import StepFailure, StepOptions, Steps, with_rates
from dlrm_pl.kernels.training.weights import Rule, TrainedLayer, TrainedTable
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.support.native.native_steps import Trained, a_batch, autocast_gradients, gradients

pytestmark = pytest.mark.skipif(level_in_use("fp32") is None, reason="no native training here")

ONE = Rates(learning_rate=1.0)

SHAPES = {
    "dot": Architecture((30, 4, 1000), 16, (13, 40, 16), (50, 33, 1)),
    "diagonal": Architecture((30, 4, 1000), 10, (3, 10), (7, 1), self_interaction=True),
    "cat": Architecture((5, 9), 12, (4, 31, 12), (65, 1), interaction="cat"),
    "one layer on top": Architecture((20, 20), 8, (5, 8), (1,)),
    "many tables": Architecture((50,) * 40, 20, (13, 20), (64, 32, 1)),
    "more vectors and inputs than tiles hold": Architecture((50,) * 40, 48, (13, 800, 48), (64, 1)),
    "wide": Architecture((300,) * 26, 128, (13, 512, 256, 128), (100, 1)),
    "dcn": Architecture((30, 4, 1000), 16, (13, 40, 16), (50, 33, 1), interaction="dcn", cross_layers=3, cross_rank=24),
    "dcn of whole blocks": Architecture(
        (30, 4, 9), 32, (13, 40, 32), (50, 33, 1), interaction="dcn", cross_layers=2, cross_rank=128
    ),
    "one cross layer": Architecture((9, 5), 10, (3, 10), (1,), interaction="dcn", cross_layers=1, cross_rank=1),
    "dcn of means": Architecture(
        (9, 5), 8, (3, 8), (1,), interaction="dcn", cross_layers=4, cross_rank=9, pooling=("mean", "sum")
    ),
    "means": Architecture((20, 30, 8), 16, (6, 16), (24, 1), pooling=("mean", "sum", "mean")),
}


def model_of(architecture: Architecture, seed: int = 5) -> DLRM:
    torch.manual_seed(seed)
    return DLRM(architecture)


def all_levels(precision: str) -> list[int]:
    return list(levels(precision))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", all_levels("fp32"))
@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_of_sgd_subtracts_the_gradient(shape: str, multi_hot: bool, level: int) -> None:
    model = model_of(SHAPES[shape])
    batch = a_batch(SHAPES[shape], 37, 1, multi_hot=multi_hot)
    loss, expected = gradients(model, batch)
    trained = Trained(model, level=level)
    assert trained.step(batch, ONE) == pytest.approx(loss, rel=2e-6)
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        # The sums have at most about a thousand terms, each rounded to 2^-24 of its size.
        scale = float(gradient.abs().max()) + 1e-3
        assert float((before.detach() - after - gradient).abs().max()) < 2e-5 * scale + 1e-6


@pytest.mark.each_value
@pytest.mark.parametrize("level", all_levels("bf16"))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_in_bfloat16_differs_by_its_rounding(shape: str, level: int) -> None:
    errors, errors_of_torch = [], []
    for model, batch, loss, expected, of_torch in gradients_in_bfloat16(shape):
        trained = Trained(model, level=level, precision="bf16")
        assert trained.step(batch, ONE) == pytest.approx(loss, rel=0.02)
        native = [before.detach() - after for before, after in zip(model.parameters(), trained.weights(), strict=True)]
        errors.append(relative_errors(native, expected))
        errors_of_torch.append(of_torch)
    # Both round the same values to bfloat16, torch some more. A few ReLUs change sides, so the mean is compared.
    mine, torchs = torch.tensor(errors).mean(0), torch.tensor(errors_of_torch).mean(0)
    assert bool((mine < 1.5 * torchs + 0.01).all()), (mine, torchs)


@cache
def gradients_in_bfloat16(shape: str) -> list[tuple[DLRM, ClickBatch, float, list[torch.Tensor], list[float]]]:
    """Return eight models with a batch, its loss and gradients, and the relative errors of torch's in bfloat16."""
    found = []
    for seed in range(8):
        model, batch = model_of(SHAPES[shape], seed), a_batch(SHAPES[shape], 64, seed)
        loss, expected = gradients(model, batch)
        found.append((model, batch, loss, expected, relative_errors(autocast_gradients(model, batch), expected)))
    return found


def relative_errors(found: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    return [float((a - b).norm() / (b.norm() + 1e-12)) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
@pytest.mark.parametrize(
    ("dense_rule", "rule"), [("sgd", "sgd"), ("adagrad", "adagrad"), ("adagrad", "rwsadagrad"), ("lamb", "sgd")]
)
@pytest.mark.parametrize("shape", ["dot", "dcn of whole blocks"])
def test_any_number_of_threads_gives_the_same_bits(
    shape: str, dense_rule: Rule, rule: Rule, multi_hot: bool, precision: str
) -> None:
    model = model_of(SHAPES[shape])
    results = []
    for threads in (1, 2, 5):
        trained = Trained(model, precision=precision, table_rule=rule, dense_rule=dense_rule)
        for seed in range(3):
            batch = a_batch(SHAPES[shape], 200, seed, multi_hot=multi_hot)
            trained.step(batch, Rates(0.1), largest_norm=0.5 * (seed == 2), threads=threads)
        results.append(trained.weights())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("level", all_levels("bf16"))
def test_vectors_that_bypass_the_cache_are_the_same(level: int) -> None:
    batch, results = a_batch(SHAPES["wide"], 640, 1), []
    for threads in (1, 3):  # A thread's vectors take 4.4 MB or 1.5 MB.
        trained = Trained(model_of(SHAPES["wide"]), level=level, precision="bf16")
        trained.step(batch, Rates(0.5), threads=threads)
        results.append(trained.weights())
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.each_value
@pytest.mark.parametrize("level", all_levels("bf16"))
@pytest.mark.parametrize("size", [5, 33, 1100])
@pytest.mark.parametrize("shape", ["dot", "diagonal", "dcn", "more vectors and inputs than tiles hold"])
def test_gradients_that_are_subtracted_at_once_are_those_that_are_kept(shape: str, size: int, level: int) -> None:
    results = []
    # Gradients that may have to be limited are kept until the update.
    for largest_value, threads in ((0.0, 1), (0.0, 3), (1e30, 1)):
        trained = Trained(model_of(SHAPES[shape]), level=level, precision="bf16")
        for seed in range(3):
            batch = a_batch(SHAPES[shape], size, seed)
            # The tables do not change, because their gradients are summed in another order.
            trained.step(batch, Rates(0.5), Rates(0.0), largest_value=largest_value, threads=threads)
        results.append(trained.weights())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("shape", ["dot", "dcn"])
def test_accumulated_batches_are_one_batch(shape: str) -> None:
    architecture = SHAPES[shape]
    model = model_of(architecture)
    whole = a_batch(architecture, 96, 3)
    parts = [
        ClickBatch(whole.dense[i : i + 32], whole.indices[:, i : i + 32].contiguous(), None, whole.labels[i : i + 32])
        for i in (0, 32, 64)
    ]
    _, expected = gradients(model, whole)
    trained = Trained(model)
    for number, part in enumerate(parts):
        trained.step(part, ONE, loss_scale=1 / 3, first=number == 0, last=number == 2)
        if number < 2:
            assert all(torch.equal(a, b) for a, b in zip(trained.weights(), model.parameters(), strict=True))
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        torch.testing.assert_close(before.detach() - after, gradient.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("limit", [0.05, 100.0])
@pytest.mark.parametrize("shape", ["dot", "dcn"])
def test_the_norm_of_all_gradients_is_limited(shape: str, limit: float) -> None:
    model = model_of(SHAPES[shape])
    batch = a_batch(SHAPES[shape], 50, 4)
    _, expected = gradients(model, batch)
    norm = float(torch.stack([gradient.square().sum() for gradient in expected]).sum().sqrt())
    trained = Trained(model)
    trained.step(batch, ONE, largest_norm=limit)
    assert trained.native.gradient_norm == pytest.approx(norm, rel=1e-5)
    factor = min(1.0, limit / (norm + 1e-6))
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        torch.testing.assert_close(before.detach() - after, (gradient * factor).float(), rtol=1e-4, atol=1e-6)


def test_each_gradient_is_limited() -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 50, 4)
    _, expected = gradients(model, batch)
    trained = Trained(model)
    trained.step(batch, ONE, largest_value=1e-3)
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        torch.testing.assert_close(before.detach() - after, gradient.clamp(-1e-3, 1e-3).float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("loss", ["bce", "wbce", "mse"])
def test_losses_are_those_of_the_torch_path(loss: str) -> None:
    architecture = Architecture((9, 9), 8, (4, 8), (16, 1), loss_threshold=0.4)
    model = model_of(architecture)
    batch = a_batch(architecture, 60, 6)
    value, expected = gradients(model, batch, loss, (0.5, 3.0))
    bound = torch.logit(torch.tensor(0.6)).item()
    trained = Trained(model, loss=loss, class_weights=(0.5, 3.0), largest_logit=bound)
    assert trained.step(batch, ONE) == pytest.approx(value, rel=1e-5)
    for before, after, gradient in zip(model.parameters(), trained.weights(), expected, strict=True):
        torch.testing.assert_close(before.detach() - after, gradient.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("place", "value"), [((2, 5), 1000), ((0, 3), -1), ((1, 0), 1 << 40)])
def test_an_index_beyond_its_table_changes_nothing(place: tuple[int, int], value: int) -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 40, 7)
    batch.indices[place] = value
    trained = Trained(model)
    assert trained.try_step(batch, ONE, threads=2) == StepFailure("index", place[1], place[0], value)
    assert all(torch.equal(a, b) for a, b in zip(trained.weights(), model.parameters(), strict=True))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_an_index_is_told_before_a_loss_that_is_not_finite(threads: int) -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 160, 7)
    batch.dense[3, 2] = float("inf")  # In an earlier sample, of another thread.
    batch.indices[2, 150] = 1000
    trained = Trained(model)
    assert trained.try_step(batch, ONE, threads=threads) == StepFailure("index", 150, 2, 1000)
    assert all(torch.equal(a, b) for a, b in zip(trained.weights(), model.parameters(), strict=True))


def test_bags_out_of_order_change_nothing() -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 40, 7, multi_hot=True)
    assert batch.offsets is not None
    for place, value in ((50, -3), (7, 1 << 50), (0, 1), (len(batch.offsets) - 1, 2)):
        offsets = batch.offsets.clone()
        offsets[place] = value
        trained = Trained(model)
        found = trained.try_step(batch._replace(offsets=offsets), ONE, threads=2)
        assert isinstance(found, StepFailure)
        assert found.kind == "offset"
        assert all(torch.equal(a, b) for a, b in zip(trained.weights(), model.parameters(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(value: float) -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 40, 7)
    batch.dense[11, 2] = value
    trained = Trained(model)
    found = trained.try_step(batch, ONE)
    assert isinstance(found, StepFailure)
    assert (found.kind, found.sample) == ("not finite", 11)
    assert all(torch.equal(a, b) for a, b in zip(trained.weights(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("precision", "level"), [(name, level) for name in ("fp32", "bf16") for level in all_levels(name)]
)
@pytest.mark.parametrize("shape", ["diagonal", "dcn", "dcn of whole blocks"])
def test_no_result_depends_on_what_a_larger_batch_left_in_memory(shape: str, precision: str, level: int) -> None:
    model = model_of(SHAPES[shape])
    # The last of 37 samples do not fill a block; the first of 90 use all memory that the smaller batch uses.
    large, small = a_batch(SHAPES[shape], 90, 8), a_batch(SHAPES[shape], 37, 7)
    fresh, used = Trained(model, level=level, precision=precision), Trained(model, level=level, precision=precision)
    used.step(large, Rates(0.0))
    large.dense[:] = float("nan")
    assert isinstance(used.try_step(large, ONE), StepFailure)
    assert used.step(small, ONE) == fresh.step(small, ONE)
    assert all(torch.equal(a, b) for a, b in zip(used.weights(), fresh.weights(), strict=True))


def test_weights_changed_by_others_are_read_after_a_refresh() -> None:
    model = model_of(SHAPES["dot"])
    batch = a_batch(SHAPES["dot"], 40, 7)
    trained = Trained(model)
    trained.step(batch, ONE)
    for mine, first in zip(trained.model.parameters(), model.parameters(), strict=True):
        mine.data.copy_(first)
    trained.native.refresh()
    assert trained.step(batch, ONE) == pytest.approx(gradients(model, batch)[0], rel=2e-6)


def test_tensors_of_other_shapes_are_refused() -> None:
    batch = a_batch(SHAPES["dot"], 8, 7)
    trained = Trained(model_of(SHAPES["dot"]))
    for wrong, name in (
        (batch._replace(dense=batch.dense.double()), "dense features"),
        (batch._replace(dense=batch.dense[:, :12]), "dense features"),
        (batch._replace(labels=batch.known_labels[:7]), "dense features"),
        (batch._replace(indices=batch.indices[:2]), "indices"),
        (batch._replace(indices=batch.indices.int()), "indices"),
    ):
        with pytest.raises(ShapeError, match=name):
            trained.try_step(wrong, ONE)


def cross_layer(width: int = 64, rank: int = 5) -> tuple[TrainedLayer, TrainedLayer]:
    w = TrainedLayer(torch.zeros(width, rank), torch.zeros(width))
    return TrainedLayer(torch.zeros(rank, width), None), w


V, W = cross_layer()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cross": [(V, W)] * 65}, "invalid number of cross layers"),
        ({"cross": [(V, W)], "is_dot": True}, "cross layers need concatenated vectors"),
        ({"cross": [(V, W)], "self_interaction": True}, "cross layers need concatenated vectors"),
        ({"cross": [cross_layer(width=48)]}, "inputs are not the outputs of what comes before"),
        ({"cross": [(V, W), (V, cross_layer(rank=6)[1])]}, "inputs are not the outputs of what comes before"),
        ({"cross": [(V, cross_layer(width=48)[1])]}, "outputs are not as wide as what they are added to"),
        ({"cross": [(replace(V, bias=torch.zeros(5)), W)]}, "weights of a layer are missing, or are too many"),
        ({"cross": [(V, replace(W, bias=None))]}, "weights of a layer are missing, or are too many"),
        ({"top": [TrainedLayer(torch.zeros(1, 64), None)]}, "weights of a layer are missing, or are too many"),
        ({"cross": [(replace(V, weight=V.weight.double()), W)]}, "the weight of Linear 1 must be"),
        ({"cross": [(replace(V, weight_state=(V.weight,)), W)]}, "Linear 1 has 1 tensors of state, but sgd keeps 0"),
        ({"cross": [(V, replace(W, bias_state=(V.weight,)))]}, "Linear 2 has 1 tensors of state, but sgd keeps 0"),
    ],
)
def test_cross_layers_of_other_sizes_are_refused(changes: dict[str, Any], reason: str) -> None:
    options = {"top": [TrainedLayer(torch.zeros(1, 64), torch.zeros(1))], "is_dot": False, "cross": [(V, W)]} | changes
    tables = [TrainedTable(torch.zeros(4, 16)) for _ in range(3)]
    bottom = [TrainedLayer(torch.zeros(16, 7), torch.zeros(16))]
    NativeStep(tables, bottom, [TrainedLayer(torch.zeros(1, 64), torch.zeros(1))], is_dot=False, cross=[(V, W)])
    with pytest.raises(ShapeError, match=reason):
        NativeStep(tables, bottom, **options)


def test_rates_that_are_no_numbers_are_refused() -> None:
    trained = Trained(model_of(SHAPES["dot"]))
    with pytest.raises(ShapeError, match="invalid learning rate"):
        trained.try_step(a_batch(SHAPES["dot"], 8, 7), Rates(float("nan")))


def packed(trained: Trained, batches: list[ClickBatch], **options: Any) -> tuple[list[bytes], list[bytes]]:
    inputs = [trained.native.packed(batch.dense, batch.indices, batch.offsets, batch.known_labels) for batch in batches]
    return inputs, [StepOptions(ONE, ONE, **options).packed()] * len(batches)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("multi_hot", [False, True], ids=["one-hot", "multi-hot"])
def test_steps_of_one_call_give_the_bits_of_single_ones(multi_hot: bool, threads: int) -> None:
    model = model_of(SHAPES["dot"])
    batches = [a_batch(SHAPES["dot"], 37, seed, multi_hot=multi_hot) for seed in range(5)]
    alone, together = Trained(model), Trained(model)
    losses = [alone.step(batch, ONE) for batch in batches]
    assert together.native.steps(*packed(together, batches), threads=threads) == Steps(losses, None)
    assert all(torch.equal(a, b) for a, b in zip(alone.weights(), together.weights(), strict=True))
    assert together.native.steps([], []) == Steps([], None)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_end_at_the_one_that_fails_or_has_too_large_a_loss(threads: int) -> None:
    model = model_of(SHAPES["dot"])
    batches = [a_batch(SHAPES["dot"], 37, seed) for seed in range(5)]
    alone, together = Trained(model), Trained(model)
    losses = [alone.step(batch, ONE) for batch in batches[:3]]
    batches[3].indices[1, 9] = 4
    found = together.native.steps(*packed(together, batches, largest_norm=1e9), threads=threads)
    assert found == Steps(pytest.approx(losses, rel=1e-6), StepFailure("index", 9, 1, 4))  # type: ignore[arg-type]
    assert together.native.gradient_norm > 0
    limited = Trained(model)
    assert (
        limited.native.steps(*packed(limited, batches), largest_loss=sorted(losses)[1], threads=threads).losses
        == losses[: next(number + 1 for number, loss in enumerate(losses) if loss > sorted(losses)[1])]
    )


@pytest.mark.parametrize("groups", [1, 2], ids=["one rate", "two rates"])
@pytest.mark.parametrize("rates", [[], [0.5] * 3, [0.5, 0.25, 1 / 3]], ids=["those of now", "equal", "falling"])
def test_steps_with_other_rates_are_those_that_are_packed_alone(rates: list[float], groups: int) -> None:
    def one(rate: float, table_rate: float) -> bytes:
        more = {"beta1": 0.8, "weight_decay": 0.1, "correction2": 0.3}
        return StepOptions(Rates(rate, **more), Rates(table_rate, **more), first=False, largest_norm=3.0).packed()

    by_group = [[rate / number for number in range(1, groups + 1)] for rate in rates]
    expected = [one(found[0], found[-1]) for found in by_group] or [one(9.0, 8.0)] * 3
    assert with_rates(one(9.0, 8.0), by_group, 3) == expected
    assert with_rates(one(9.0, 8.0), by_group, 2) == expected[:2]
