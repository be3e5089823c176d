"""A model whose tables have several blocks, artifacts of it, and models trained further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.ptq.calibration import ActivationRanges
from dlrm_pl.quantization.ptq.quantize import bags_of, quantize, table_packer
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import artifacts, tiny

# Blocks of 8 KiB have 256 rows of 8 floats; the last block of both large tables is shorter.
ARCHITECTURE = Architecture(table_sizes=(3000, 7, 1111), embedding_dim=8, bottom_mlp=(13, 16, 8), top_mlp=(12, 6, 1))


def rows(seed: int) -> object:
    return artifacts.data(
        calibration=tiny.batches(2, 64, 1, ARCHITECTURE),
        tuning=tiny.batches(2, 500, 2, ARCHITECTURE),
        certification=tiny.batches(2, 500, 3, ARCHITECTURE),
        row_ranges=artifacts.RANGES | {"certification": RowRange("test", 0, 1000)},
        batch_size=500,
    )


def settings(**recipe: object) -> TuningSettings:
    return TuningSettings(
        recipe=RecipeStart(**recipe),  # type: ignore[arg-type]
        criterion=Criterion(relative=0.9),
        max_trials=1,
    )


def full(model: DLRM, output: Path, **recipe: object) -> Outcome:
    return build_artifact(model, rows(0), settings(**recipe), output)  # type: ignore[arg-type]


def refresh(model: DLRM, base: Path, output: Path, **options: bool) -> Outcome:
    loaded = RefreshBase.load(base, model)
    return build_artifact(model, rows(0), loaded.settings(settings()), output, base=loaded, **options)  # type: ignore[arg-type]


def changed(model: DLRM, change: Callable[[list[torch.Tensor]], object]) -> DLRM:
    """Return a copy whose tables and Linears were trained further."""
    copy = tiny.model(0, model.architecture)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        change([table.data for table in bags_of(copy).weights()])
        for parameter in copy.top_mlp.parameters():
            parameter.mul_(1.01)
    return copy


def quantized(model: DLRM, recipe_of: Artifact) -> Int8DLRM:
    """Return the result of a full quantization with the recipe of an artifact."""
    from dlrm_pl.quantization.recipe import Recipe

    recipe = Recipe.from_dict(recipe_of.manifest.recipe)
    calibration = tiny.batches(2, 64, 1, ARCHITECTURE)
    return quantize(model, recipe, ActivationRanges(model, calibration), table_packer(model))


def assert_same_bits(found: Int8DLRM, expected: Int8DLRM) -> None:
    ours, theirs = dict(found.named_buffers()), dict(expected.named_buffers())
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert bits(ours[name]).equal(bits(tensor)), name


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


@dataclass(frozen=True)
class Made:
    """An artifact and its float model."""

    model: DLRM
    path: Path

    def artifact(self) -> Artifact:
        """Load it."""
        return load_artifact(self.path)


def scattered(tables: list[torch.Tensor]) -> None:
    """Change rows everywhere."""
    for table in tables:
        table[::97] += 0.1


def runs(tables: list[torch.Tensor]) -> None:
    """Change some adjacent rows, across the border of two blocks, and the last row."""
    tables[0][250:300] *= 1.5
    tables[2][-3:] = 0


def nothing(tables: list[torch.Tensor]) -> None:
    """Change no row."""
