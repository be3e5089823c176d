"""Artifacts and checkpoints as pages show what they consist of, to scale."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from dlrm_pl.artifact.manifest import Manifest, file_sha256
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.artifact.writing.sensitivities import Sensitivity
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.errors import ArtifactError, CheckpointError, ConfigurationError
from dlrm_pl.inspection import inspect_path
from dlrm_pl.plots.artifact import parts_of
from dlrm_pl.plots.artifact_figures import MOST_NAMED, Part, bytes_figure, dtypes_figure, sensitivities_figure
from dlrm_pl.plots.portrait import portrait_of
from dlrm_pl.plots.write import write_portrait
from tests.support.html_elements import Elements
from tests.support.training import make_module, make_trainer


def texts(figure: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("text")]


def boxes(figure: str) -> list[tuple[float, float, str]]:
    found = [element.attrib for element in ElementTree.fromstring(figure).iter() if element.tag.endswith("rect")]
    return [(float(box["x"]), float(box["width"]), box["fill"]) for box in found]


def test_parts_add_up_to_the_bytes_of_the_manifest(outcome: Outcome) -> None:
    manifest = Manifest.read(outcome.path)
    parts = parts_of(manifest)
    assert sum(part.fp32_bytes for part in parts) == manifest.fp32_bytes
    assert sum(part.artifact_bytes for part in parts) == manifest.int8_bytes
    assert sum(part.artifact_bytes for part in parts[1:]) == manifest.table_bytes
    assert all(part.artifact_bytes > 0 for part in parts)


def test_bars_of_bytes_are_to_scale() -> None:
    figure = bytes_figure([Part("a", "int8", 4_000, 1_000), Part("b", "fp32", 2_000, 2_000)])
    drawn = boxes(figure)[2:]
    assert len({left for left, _, _ in drawn}) == 1
    assert [round(width / drawn[0][1], 2) for _, width, _ in drawn] == [1.0, 0.25, 0.5, 0.5]
    many = bytes_figure([Part(f"t{n}", "int8", n, n) for n in range(1, 101)])
    assert f"{100 - MOST_NAMED} others" in texts(many)
    assert len(boxes(many)) == 2 + 2 * (MOST_NAMED + 1)


def test_each_op_has_a_box_in_the_colour_of_its_dtype() -> None:
    ops = {f"bottom_mlp.{n}": "int8" for n in range(3)} | {f"tables.{n}": "int4" for n in range(50)} | {"x": "fp32"}
    figure = dtypes_figure(ops)
    assert "50 int4, 3 int8, 1 fp32" in figure
    drawn = [fill for _, _, fill in boxes(figure)]
    legend = dict(zip(("int4", "int8", "fp32"), drawn[:3], strict=True))
    assert len(set(legend.values())) == 3
    assert drawn[3:] == [legend[dtype] for dtype in ops.values()]
    assert max(left for left, _, _ in boxes(figure)) < 380


def test_sensitivities_of_the_dtype_that_the_artifact_has() -> None:
    drops = [Sensitivity("a", "int8", 0.01, 0.001), Sensitivity("a", "int4", 0.5), Sensitivity("b", "int8", -0.02)]
    figure = sensitivities_figure(drops, {"a": "int4", "b": "int8"})
    assert figure is not None
    assert [text for text in texts(figure) if text[:1] in "ab"] == ["a int4", "b int8"]
    assert "The largest is 0.500000, of a." in figure
    assert sensitivities_figure([], {}) is None
    many = [Sensitivity(f"t.{n}", "int8", n / 1000) for n in range(100)]
    assert len(boxes(sensitivities_figure(many, {}) or "")) == MOST_NAMED


def test_page_of_an_artifact(outcome: Outcome, tmp_path: Path) -> None:
    write_portrait(portrait_of(inspect_path(outcome.path)), tmp_path / "a.html")
    elements = Elements((tmp_path / "a.html").read_text())
    words = " ".join(" ".join(elements.words).split())
    assert elements.open == []
    assert elements.seen["svg"] >= 2
    assert outcome.manifest.model_fingerprint in words
    assert re.search(r"accepted: .*AUROC drop", words, re.IGNORECASE)


def test_damaged_result_is_an_error(outcome: Outcome, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(outcome.path, tmp_path / "a"))
    description = inspect_path(folder)
    result = json.loads((folder / "result.json").read_text())
    result["sensitivities"]["drops"] = [{"op": 3}]
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(ArtifactError, match=r"result\.json: sensitivities: drops\.0\.op"):
        portrait_of(description)
    assert file_sha256(folder / "manifest.json")


def checkpoint(folder: Path, state: object) -> Path:
    module, trainer = make_module(), make_trainer()
    trainer.strategy.connect(module)
    path = folder / "a.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    saved = torch.load(path, weights_only=True)
    saved["callbacks"] = {"TrainingCurves": state} if state else {}
    torch.save(saved, path)
    return path


def test_page_of_a_checkpoint_has_the_curves_of_its_training(tmp_path: Path) -> None:
    record = TrainingRecord(loss="bce", step=30)
    record.losses.extend([0.5] * 30, first=1, last=30)
    record.validations.add(30, [0.75, 0.4])
    portrait = portrait_of(inspect_path(checkpoint(tmp_path, record.to_dict())))
    assert portrait.lead == "30 optimizer steps. AUROC on val: best 0.750000 at step 30, last 0.750000."
    assert len(portrait.figures) == 2
    write_portrait(portrait, tmp_path / "a.html")
    assert Elements((tmp_path / "a.html").read_text()).open == []


def test_checkpoint_without_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.ckpt: has no curves to draw"):
        portrait_of(inspect_path(checkpoint(tmp_path, None)))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: callbacks\.TrainingCurves: .*step"):
        portrait_of(inspect_path(checkpoint(tmp_path, {"step": -1})))
