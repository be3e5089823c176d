"""A reader written from docs/formats.md alone scores rows as the program does."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.encoding.vocabulary_file import save_encoder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from tests.reference import safetensors_reader
from tests.reference.artifact_reader import ArtifactReader, digest_of_weights
from tests.support import refreshing, tiny
from tests.support.artifacts import RANGES, data
from tests.support.logs.any_columns import MIXED

DOT = replace(tiny.ARCHITECTURE, embedding_dim=9, bottom_mlp=(13, 16, 9))  # Odd: an int4 row has an unused half byte.
MEAN = replace(DOT, self_interaction=True, pooling=("sum", "mean", "sum"), loss_threshold=0.3)
CAT = replace(DOT, interaction="cat")
CROSSED = replace(DOT, interaction="dcn", cross_layers=2, cross_rank=5)

EXACT: list[tuple[str, Any, dict[str, Any]]] = [
    *((f"dot-{dtype}", DOT, {"tables": dtype, "interaction": "int8"}) for dtype in ("int8", "int4", "fp16", "fp32")),
    ("mean", MEAN, {"tables": "int4"}),
    ("symmetric", DOT, {"activation_scheme": "symmetric", "weight_granularity": "per_tensor"}),
    ("cat", CAT, {}),
    ("dcn", CROSSED, {"tables": "int4"}),
]
ROUNDED: list[tuple[str, Any, dict[str, Any]]] = [
    ("dot-fp32", MEAN, {"tables": "fp16", "interaction": "fp32"}),
    ("dot-bf16", DOT, {"interaction": "bf16", "linears": "bf16"}),
    ("floats", DOT, {"interaction": "int8", "linears": "fp32"}),
    ("dcn-bf16", CROSSED, {"linears": "bf16"}),
]


def logits_of_both(architecture: Any, recipe: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    settings = TuningSettings(RecipeStart(**recipe), Criterion(relative=0.9), max_trials=1)
    ranges = RANGES | {"certification": RowRange("test", 0, 64)}
    sets = {name: tiny.batches(1, 64, seed, architecture) for seed, name in enumerate(ranges, 1)}
    rows = data(**sets, row_ranges=ranges, batch_size=64)
    build_artifact(tiny.model(0, architecture), rows, settings, folder)
    reader, model = ArtifactReader(folder), load_artifact(folder).model
    # Lists of 0 to 3 ids, then single ids.
    batches = [tiny.bags(1, 40, 5, architecture)[0], tiny.as_multi_hot(tiny.batches(1, 40, 6, architecture)[0])]
    with torch.inference_mode():
        expected = torch.cat([model(batch) for batch in batches]).numpy()
    return np.array([logit for batch in batches for logit in scored(reader, batch)]), expected


def scored(reader: ArtifactReader, batch: ClickBatch) -> list[np.float32]:
    assert batch.offsets is not None
    starts, tables = batch.offsets.tolist(), len(reader.tables)
    logits = []
    for row in range(batch.num_samples):
        places = [table * batch.num_samples + row for table in range(tables)]
        bags = [batch.indices[starts[place] : starts[place + 1]].tolist() for place in places]
        logits.append(reader.logit(batch.dense[row].numpy(), bags))
    return logits


@pytest.mark.parametrize(("architecture", "recipe"), [case[1:] for case in EXACT], ids=[case[0] for case in EXACT])
def test_logits_of_int8_layers_have_the_same_bits(architecture: Any, recipe: dict[str, Any], tmp_path: Path) -> None:
    found, expected = logits_of_both(architecture, recipe, tmp_path / "artifact")
    np.testing.assert_array_equal(found, expected)
    assert len(set(expected.tolist())) > 20


@pytest.mark.parametrize(("architecture", "recipe"), [case[1:] for case in ROUNDED], ids=[case[0] for case in ROUNDED])
def test_logits_of_float_layers_agree_to_rounding(architecture: Any, recipe: dict[str, Any], tmp_path: Path) -> None:
    found, expected = logits_of_both(architecture, recipe, tmp_path / "artifact")
    # A different order of summation may round a value to the neighbouring bfloat16 in each of five layers.
    tolerance = 5 * 2**-8 if recipe.get("linears") == "bf16" else 1e-5
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_patches_of_a_refreshed_artifact_and_of_its_delta(tmp_path: Path) -> None:
    before = tiny.model(0, refreshing.ARCHITECTURE)
    after = refreshing.changed(before, lambda tables: (tables[0][5].mul_(-1.5), tables[0][2999].mul_(2)))
    refreshing.full(before, tmp_path / "base")
    refreshing.refresh(after, tmp_path / "base", tmp_path / "next")
    batch = tiny.as_multi_hot(tiny.batches(1, 20, 7, refreshing.ARCHITECTURE)[0])
    batch.indices[:20] = torch.tensor([5, 2999] * 10)
    with torch.inference_mode():
        expected = load_artifact(tmp_path / "next").model(batch).numpy()
    assert ArtifactReader(tmp_path / "next").manifest["patches"]
    for reader in (ArtifactReader(tmp_path / "next"), ArtifactReader(tmp_path / "next.delta", tmp_path / "base")):
        np.testing.assert_array_equal(scored(reader, batch), expected)


def test_checksum_of_the_weights_follows_from_the_digests(artifact_path: Path) -> None:
    manifest = ArtifactReader(artifact_path).manifest
    shapes = {name: tuple(parameter.shape) for name, parameter in tiny.model().named_parameters()}
    assert digest_of_weights(artifact_path, manifest, shapes) == manifest["model_checksum"]


def test_reader_notices_a_changed_byte(artifact_path: Path) -> None:
    path = artifact_path / "table-00-int8.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(AssertionError):
        ArtifactReader(artifact_path)


def test_dictionaries_in_an_artifact(tmp_path: Path) -> None:
    texts = Strings.of([b"", "grün".encode(), b"\xff"])
    vocabulary = Vocabulary([[0, 255], texts, [-(2**63), 4], None, None], MIXED)
    save_encoder(RowEncoder(MIXED, vocabulary, 256), tmp_path / "vocabulary.safetensors")
    tensors, metadata = safetensors_reader.read(tmp_path / "vocabulary.safetensors")
    assert tensors["0.values"].tolist() == [0, 255]
    assert tensors["2.values"].tolist() == [-(2**63), 4]
    offsets = tensors["1.offsets"]
    read = [tensors["1.data"][first:last].tobytes() for first, last in pairwise(offsets)]
    assert read == [b"", "grün".encode(), b"\xff"]
    assert len(tensors) == 4
    stated = json.loads(metadata["dlrm_pl"])
    assert stated == {"format": 1, "columns": MIXED.statement(), "max_ind_range": 256}


def test_lines_of_an_unfinished_search_are_sealed_as_the_page_says(tmp_path: Path) -> None:
    from dlrm_pl.quantization.search.trials.trial_log import TrialLog

    log = TrialLog(tmp_path / ".a.trials.jsonl", {"model": "b", "seed": 1})
    log.cached("measured", lambda: [1, 2])
    lines = (tmp_path / ".a.trials.jsonl").read_text().splitlines()
    identity = json.loads(lines[0])["identity"]
    seal = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    for number, line in enumerate(lines, 1):
        values = json.loads(line)
        checksum = values.pop("checksum")
        assert values["line"] == number
        assert hashlib.sha256((seal + json.dumps(values)).encode()).hexdigest()[:16] == checksum
    shutil.rmtree(tmp_path)
