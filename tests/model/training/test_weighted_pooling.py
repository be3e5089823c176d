"""Trained row weights, as with upstream's --weighted-pooling=learned."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.callbacks.quantization_aware import QuantizationAwareTraining
from dlrm_pl.errors import CheckpointError, ConfigurationError, ShapeError
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.load import load_checkpoint, load_dlrm, load_into
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from dlrm_pl.model.upstream.exporting import export_upstream
from dlrm_pl.model.weighted_bags import WeightedBags, without_row_weights
from tests.support.training import SIZES, assert_same_weights, loader, make_batches, make_module, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


def weighted_bags(is_mean: tuple[bool, ...] = ()) -> WeightedBags:
    torch.manual_seed(0)
    bags = WeightedBags(EmbeddingBags(SIZES, 4, is_mean))
    for weights in bags.row_weights:
        nn.init.normal_(weights.weight, 1.0, 0.3)  # type: ignore[arg-type]
    return bags.double()


def multi_hot(b: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Make bags of 0 to 3 rows, some of them repeated."""
    make = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 4, (len(SIZES) * b,), generator=make)
    rows = [
        torch.randint(0, SIZES[bag // b], (int(length),), generator=make) for bag, length in enumerate(lengths.tolist())
    ]
    return torch.cat(rows), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


def test_sums_are_those_of_torch_with_a_weight_for_each_lookup() -> None:
    """The gradients of rows and weights are equal, too."""
    bags = weighted_bags()
    indices, offsets = multi_hot()
    upstream = []
    for table, (weight, rows) in enumerate(
        (pair.weight, bags.row_weights[table].weight)
        for table, pair in enumerate(bags.tables)  # type: ignore[union-attr]
    ):
        own = weight.detach().clone().requires_grad_(), rows.detach().clone().requires_grad_()
        bounds = offsets[table * 5 : table * 5 + 6]
        chosen = indices[bounds[0] : bounds[-1]]
        pooled = F.embedding_bag(
            chosen, own[0], bounds[:-1] - bounds[0], mode="sum", per_sample_weights=own[1][:, 0].gather(0, chosen)
        )
        upstream.append((pooled, own))
    found = bags(indices, offsets)
    expected = torch.stack([pooled for pooled, _ in upstream], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    factors = torch.randn(found.shape, dtype=torch.float64)
    (found * factors).sum().backward()
    (expected * factors).sum().backward()
    for table, (_, (weight, rows)) in enumerate(upstream):
        for parameter, other in ((bags.tables[table].weight, weight), (bags.row_weights[table].weight, rows)):
            assert isinstance(parameter, torch.Tensor)
            assert parameter.grad is not None
            assert parameter.grad.is_sparse
            assert other.grad is not None
            torch.testing.assert_close(parameter.grad.to_dense(), other.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_mean", [(), (True, False, True)])
def test_folded_tables_pool_the_same_vectors(is_mean: tuple[bool, ...]) -> None:
    bags = weighted_bags(is_mean)
    indices, offsets = multi_hot()
    one_hot = make_batches(1)[0].indices
    before, before_one_hot, products = bags(indices, offsets), bags(one_hot, None), bags.weights()
    plain = bags.fold()
    assert type(plain) is EmbeddingBags
    for tables in (plain, bags):
        torch.testing.assert_close(tables(indices, offsets), before, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(tables(one_hot, None), before_one_hot, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(one, other) for one, other in zip(plain.weights(), products, strict=True))
    assert set(plain.state_dict()) == {f"tables.{table}.weight" for table in range(3)}


def test_indices_for_another_number_of_tables_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"3 tables need indices of shape \[T, B\], got \[2, 7\]"):
        weighted_bags()(torch.zeros(2, 7, dtype=torch.int64), None)


def trained(pooling: str = "learned", **options: Any) -> DLRMModule:
    module = make_module(weighted_pooling=pooling, **options)
    make_trainer(**{"max_epochs": 1}).fit(module, loader(make_batches(6)))
    return module


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rwsadagrad"])
def test_weights_are_trained_from_1_on(optimizer: str) -> None:
    module = trained(optimizer=optimizer)
    bags = module.model.embedding_bags
    assert isinstance(bags, WeightedBags)
    assert all(not weights.weight.eq(1).all() for weights in bags.row_weights)  # type: ignore[operator]


def test_fixed_weights_equal_no_weights() -> None:
    assert_same_weights(trained("fixed"), trained("none"))


def save(module: DLRMModule, path: Path) -> Path:
    module.trainer.save_checkpoint(path)
    return path


def logits(model: nn.Module, batch: ClickBatch) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(batch)
    return found


def test_models_without_row_weights_score_the_same(tmp_path: Path) -> None:
    module, batch = trained(), make_batches(1, seed=5)[0]
    expected = logits(module, batch)
    path = save(module, tmp_path / "model.ckpt")
    contents = path.read_bytes()
    loaded = load_checkpoint(path)
    assert torch.equal(logits(loaded, batch), expected)
    with skip_weight_init():
        into = make_module(weighted_pooling="learned")
    load_into(into, path)
    assert torch.equal(logits(into, batch), expected)
    folded = [load_dlrm(path), without_row_weights(loaded.model), without_row_weights(module.model)]
    checksums = {
        model_checksum(model, parameter_checksums(model, model.weights_file.tensors if model.weights_file else {}))
        for model in folded
    }
    assert len(checksums) == 1  # This allows an artifact to be compared with the checkpoint from which it was made.
    for model in folded:
        assert type(model.embedding_bags) is EmbeddingBags
        torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits(module, batch), expected, rtol=1e-5, atol=1e-6)
    assert path.read_bytes() == contents


def test_export_to_upstream_multiplies_weights_into_the_tables(tmp_path: Path) -> None:
    module = trained()
    export_upstream(save(module, tmp_path / "model.ckpt"), tmp_path / "back.pt")
    state = torch.load(tmp_path / "back.pt")["state_dict"]
    for table, rows in enumerate(without_row_weights(module.model).embedding_bags.parameters()):
        assert torch.equal(state[f"emb_l.{table}.weight"], rows)


def test_resuming_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    whole = make_module(weighted_pooling="learned", optimizer="rwsadagrad")
    make_trainer(max_epochs=2).fit(whole, loader(make_batches(6)))
    path = save(trained(optimizer="rwsadagrad"), tmp_path / "first.ckpt")
    second = make_module(seed=1, weighted_pooling="learned", optimizer="rwsadagrad")
    make_trainer(max_epochs=2).fit(second, loader(make_batches(6)), ckpt_path=path, weights_only=True)
    assert_same_weights(second, whole)


@pytest.mark.parametrize(("saved", "own"), [("learned", "none"), ("none", "learned")])
def test_checkpoint_of_the_other_kind_is_refused(tmp_path: Path, saved: str, own: str) -> None:
    path = save(trained(saved), tmp_path / "first.ckpt")
    message = f"saved with weighted_pooling='{saved}', but the model has weighted_pooling='{own}'"
    with pytest.raises(CheckpointError, match=message):
        make_trainer().fit(make_module(weighted_pooling=own), loader(make_batches(1)), ckpt_path=path)


def test_imported_weights_are_trained_with_row_weights_of_1(tmp_path: Path) -> None:
    plain = make_module(seed=3)
    entries: dict[str, Any] = {"state_dict": plain.state_dict(), "optimizer_states": [], "lr_schedulers": []}
    entries |= {"epoch": 0, "global_step": 0, "pytorch-lightning_version": pl.__version__, "loops": {}}
    plain.contract.write(entries)
    torch.save(entries, tmp_path / "imported.ckpt")
    module = make_module(weighted_pooling="learned", learning_rate=1e-30)
    load_into(module, tmp_path / "imported.ckpt")
    batch = make_batches(1)[0]
    assert torch.equal(logits(module, batch), logits(plain, batch))


def test_clipping_reaches_the_weights() -> None:
    module = make_module(weighted_pooling="learned", learning_rate=1.0)
    before = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    make_trainer(gradient_clip_val=1e-3).fit(module, loader(make_batches(1)))
    change = sum(float((tensor.detach() - before[name]).square().sum()) for name, tensor in module.named_parameters())
    assert change**0.5 == pytest.approx(1e-3, rel=1e-2)


def test_quantization_aware_training_refuses_them() -> None:
    trainer = make_trainer(callbacks=[QuantizationAwareTraining()])
    with pytest.raises(ConfigurationError, match="not their products with the weights that weighted_pooling='learned'"):
        trainer.fit(make_module(weighted_pooling="learned"), loader(make_batches(1)))


def test_a_plain_model_is_returned_as_it_is() -> None:
    model = make_module().model
    assert without_row_weights(model) is model
    assert isinstance(model, DLRM)
