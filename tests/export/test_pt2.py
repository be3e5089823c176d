"""Programs of torch.export compute the artifact's logits using only torch's own ops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlrm_pl.batch import first_samples
from dlrm_pl.export.feed import feed_of
from dlrm_pl.export.numbers import numbers_of
from dlrm_pl.export.torch_export.module import PlainDLRM
from dlrm_pl.export.torch_export.target import METADATA_NAME, Pt2Target
from tests.support.quantization.exported import Case, make_case


def test_plain_ops_give_the_bits_of_the_artifact(case: Case) -> None:
    model, batch = case
    plain = PlainDLRM(numbers_of(model), bags=batch.offsets is not None)
    with torch.inference_mode():
        logits, probabilities = plain(*map(torch.from_numpy, feed_of(batch).values()))
        torch.testing.assert_close(logits, model(batch), rtol=0, atol=0)
        torch.testing.assert_close(probabilities, torch.sigmoid(model(batch)), rtol=0, atol=0)


@pytest.mark.parametrize("name", [pytest.param("small", marks=pytest.mark.slow), "small bags"])
def test_a_program_takes_any_batch_and_needs_no_op_of_ours(tmp_path: Path, name: str) -> None:
    model, batch = make_case(name)
    target = Pt2Target()
    target.write(numbers_of(model), tmp_path, batch)
    target.describe(tmp_path, {"check": {"largest_difference": 0.0}})
    score = target.logits_of(tmp_path, 1)
    with torch.inference_mode():
        for part in (batch, first_samples(batch, 1), first_samples(batch, 13)):
            torch.testing.assert_close(score(part), model(part), rtol=0, atol=0)
    extra = {METADATA_NAME: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert extra == {METADATA_NAME: '{"check": {"largest_difference": 0.0}}'}
    ops = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(not op.startswith("dlrm_pl") for op in ops)
