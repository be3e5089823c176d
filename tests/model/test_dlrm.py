"""The whole network compared with NumPy loops; its contract; one training step compared with finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError, ShapeError
from dlrm_pl.model.architecture import Architecture, Interaction
from dlrm_pl.model.cross_net import CrossLayer
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.mlp import build_mlp
from dlrm_pl.model.training.losses import click_loss
from tests.reference import dlrm as reference
from tests.support.examples import examples

SMALL = Architecture(table_sizes=(5, 3, 7), embedding_dim=4, bottom_mlp=(2, 6, 4), top_mlp=(5, 1))


def one_hot_batch(architecture: Architecture, b: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> ClickBatch:
    rng = torch.Generator().manual_seed(seed)
    return ClickBatch(
        torch.randn(b, architecture.bottom_mlp[0], generator=rng, dtype=dtype),
        torch.stack([torch.randint(0, rows, (b,), generator=rng) for rows in architecture.table_sizes]),
        None,
        torch.randint(0, 2, (b,), generator=rng).to(dtype),
    )


def numpy_parameters(model: DLRM) -> dict[str, object]:
    def layers(mlp: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
        linears = [layer for layer in mlp.children() if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linears]

    bags = model.embedding_bags
    assert isinstance(bags, EmbeddingBags)
    tables = [table.numpy() for table in bags.weights()]
    cross_layers = [] if model.cross_net is None else model.cross_net.children()
    cross = [
        (layer.v.weight.detach().numpy(), layer.w.weight.detach().numpy(), layer.w.bias.detach().numpy())
        for layer in cross_layers
        if isinstance(layer, CrossLayer)
    ]
    return {"tables": tables, "bottom": layers(model.bottom_mlp), "cross": cross, "top": layers(model.top_mlp)}


@settings(deadline=None, max_examples=examples(40))
@given(
    data=st.data(),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    dim=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 6), max_size=2),
    kind=st.sampled_from(["dot", "cat", "dcn"]),
    itself=st.booleans(),
    layers=st.integers(1, 3),
    rank=st.integers(1, 3),
    multi_hot=st.booleans(),
    threshold=st.sampled_from([0.0, 0.3]),
    b=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_forward_equals_explicit_loops(
    data: st.DataObject,
    sizes: list[int],
    dim: int,
    hidden: list[int],
    kind: Interaction,
    itself: bool,
    layers: int,
    rank: int,
    multi_hot: bool,
    threshold: float,
    b: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    model = DLRM(
        Architecture(
            table_sizes=tuple(sizes),
            embedding_dim=dim,
            bottom_mlp=(3, *hidden, dim),
            top_mlp=(*hidden, 1),
            interaction=kind,
            self_interaction=itself and kind != "dcn",
            loss_threshold=threshold,
            cross_layers=layers if kind == "dcn" else 0,
            cross_rank=min(rank, (len(sizes) + 1) * dim) if kind == "dcn" else 0,
        )
    ).double()
    fewest, most = (0, 3) if multi_hot else (1, 1)
    bags = [
        [data.draw(st.lists(st.integers(0, rows - 1), min_size=fewest, max_size=most)) for _ in range(b)]
        for rows in sizes
    ]
    flat = [bag for table in bags for bag in table]
    indices = torch.tensor([row for bag in flat for row in bag], dtype=torch.int64)
    offsets = torch.tensor([0, *(len(bag) for bag in flat)]).cumsum(0)
    dense = torch.randn(b, 3, dtype=torch.float64)
    batch = ClickBatch(
        dense, indices if multi_hot else indices.view(len(sizes), b), offsets if multi_hot else None, torch.zeros(b)
    )
    expected = reference.logits_by_loops(
        numpy_parameters(model), dense.numpy(), bags, kind=kind, itself=itself, threshold=threshold
    )
    torch.testing.assert_close(model(batch).detach(), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_parameters_have_stable_names_and_shapes() -> None:
    """Checkpoints, artifacts and the mapping to the reference's names rely on them."""
    shapes = {name: tuple(tensor.shape) for name, tensor in DLRM(SMALL).state_dict().items()}
    assert shapes == {
        "embedding_bags.tables.0.weight": (5, 4),
        "embedding_bags.tables.1.weight": (3, 4),
        "embedding_bags.tables.2.weight": (7, 4),
        "bottom_mlp.0.weight": (6, 2),
        "bottom_mlp.0.bias": (6,),
        "bottom_mlp.2.weight": (4, 6),
        "bottom_mlp.2.bias": (4,),
        "top_mlp.0.weight": (5, 10),
        "top_mlp.0.bias": (5,),
        "top_mlp.2.weight": (1, 5),
        "top_mlp.2.bias": (1,),
    }


def test_parameters_of_the_cross_network_have_stable_names_and_shapes() -> None:
    shape = replace(SMALL, interaction="dcn", cross_layers=2, cross_rank=3)
    shapes = {name: tuple(t.shape) for name, t in DLRM(shape).state_dict().items() if name.startswith("cross_net")}
    assert shapes == {
        f"cross_net.{layer}.{name}": expected
        for layer in (0, 1)
        for name, expected in (("v.weight", (3, 16)), ("w.weight", (16, 3)), ("w.bias", (16,)))
    }


def test_the_bottom_ends_in_relu_and_the_top_in_the_logit() -> None:
    model = DLRM(SMALL)
    assert [type(layer) for layer in model.bottom_mlp.children()] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert [type(layer) for layer in model.top_mlp.children()] == [nn.Linear, nn.ReLU, nn.Linear]


def test_one_sgd_step_equals_dense_tables_under_autograd() -> None:
    """Sparse gradients and torch's SGD, compared with dense one-hot matrices and the rule w - lr * gradient."""
    torch.manual_seed(3)
    model = DLRM(SMALL).double()
    batch = one_hot_batch(SMALL, 6, dtype=torch.float64)
    before = {name: tensor.detach().clone().requires_grad_() for name, tensor in model.named_parameters()}

    def dense_loss() -> torch.Tensor:
        x = batch.dense
        for layer in (0, 2):
            x = torch.relu(x @ before[f"bottom_mlp.{layer}.weight"].T + before[f"bottom_mlp.{layer}.bias"])
        vectors = [x]
        for t, rows in enumerate(SMALL.table_sizes):
            vectors.append(
                nn.functional.one_hot(batch.indices[t], rows).double() @ before[f"embedding_bags.tables.{t}.weight"]
            )
        pairs = [(vectors[i] * vectors[j]).sum(1) for i in range(4) for j in range(i)]
        z = torch.cat([x, torch.stack(pairs, 1)], 1)
        z = torch.relu(z @ before["top_mlp.0.weight"].T + before["top_mlp.0.bias"])
        probability = torch.sigmoid(z @ before["top_mlp.2.weight"].T + before["top_mlp.2.bias"]).squeeze(1)
        return nn.functional.binary_cross_entropy(probability, batch.labels)

    gradients = torch.autograd.grad(dense_loss(), list(before.values()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    click_loss(model(batch), batch.labels, "bce").backward()
    optimizer.step()
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        torch.testing.assert_close(model.get_parameter(name), old - 0.5 * gradient, rtol=1e-10, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(0)
    model = DLRM(replace(SMALL, self_interaction=True)).double()
    batch = one_hot_batch(SMALL, 3, dtype=torch.float64)
    values = {name: tensor.detach() for name, tensor in model.named_parameters()}
    click_loss(model(batch), batch.labels, "bce").backward()
    for name in ("embedding_bags.tables.1.weight", "bottom_mlp.0.weight", "top_mlp.2.bias"):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        for position in range(values[name].numel()):
            losses = []
            for shift in (1e-6, -1e-6):
                moved = values[name].clone()
                moved.view(-1)[position] += shift
                logits = functional_call(model, values | {name: moved}, (batch,))
                losses.append(click_loss(logits, batch.labels, "bce").item())
            # A central difference with step 1e-6 is accurate to about 1e-10 in float64.
            assert dense.flatten()[position].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)


def test_from_parts_shares_and_initialises_nothing() -> None:
    model = DLRM(SMALL)
    state = torch.get_rng_state()
    composed = DLRM.from_parts(SMALL, model.bottom_mlp, model.embedding_bags, model.top_mlp)
    assert torch.equal(torch.get_rng_state(), state)
    assert composed.embedding_bags is model.embedding_bags
    batch = one_hot_batch(SMALL, 4)
    assert torch.equal(composed(batch), model(batch))
    assert list(composed.state_dict()) == list(model.state_dict())


def test_a_model_on_the_meta_device_needs_no_memory() -> None:
    huge = replace(SMALL, table_sizes=(10**12, 10**12))  # 32 TB
    with torch.device("meta"):
        model = DLRM(huge)
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize(("bias", "probability"), [(-50.0, 0.3), (50.0, 0.7)])
def test_loss_threshold_bounds_the_probability(bias: float, probability: float) -> None:
    model = DLRM(replace(SMALL, loss_threshold=0.3))
    model.get_parameter("top_mlp.2.bias").data.fill_(bias)
    for scored in torch.sigmoid(model(one_hot_batch(SMALL, 5))).tolist():
        assert scored == pytest.approx(probability, rel=1e-6)


def test_loss_threshold_stops_the_gradient_where_it_clamps() -> None:
    model = DLRM(replace(SMALL, loss_threshold=0.499))
    batch = one_hot_batch(SMALL, 1)
    model.get_parameter("top_mlp.2.bias").data.fill_(50)
    model(batch).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert not any(gradient.to_dense().any() for gradient in gradients)


def test_half_precision_logits_are_widened() -> None:
    """In bfloat16 many samples would share a probability, and ties cost AUROC."""
    model = DLRM(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(one_hot_batch(SMALL, 4)).dtype == torch.float32


def test_another_number_of_dense_features_is_rejected() -> None:
    batch = one_hot_batch(SMALL, 4)
    with pytest.raises(ShapeError, match=r"takes 2 dense features, shape \[B, 2\], but got \[4, 3\]"):
        DLRM(SMALL)(batch._replace(dense=torch.zeros(4, 3)))


def test_tracing_leaves_eager_mode_as_it_was() -> None:
    architecture = replace(SMALL, table_sizes=(2,) * 17)  # A number of vectors that no other test has cached.
    model = DLRM(architecture)
    batch = one_hot_batch(architecture, 4)
    program = torch.export.export(model, (batch,))
    torch.testing.assert_close(program.module()(batch), model(batch))


def test_mlp_initialisation_has_the_references_deviations() -> None:
    torch.manual_seed(0)
    linear = next(build_mlp((300, 500), final_relu=False).children())
    assert isinstance(linear, nn.Linear)
    # 150,000 weights and 500 biases: their deviations are known to within 0.5 % and 10 % (three standard errors).
    assert linear.weight.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.01)
    assert linear.bias.std().item() == pytest.approx((1 / 500) ** 0.5, rel=0.1)
    assert abs(linear.weight.mean().item()) < 0.001


def test_something_else_than_an_architecture_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"takes an Architecture, as in DLRM.*, but got a list"):
        DLRM([3, 4])  # type: ignore[arg-type]
