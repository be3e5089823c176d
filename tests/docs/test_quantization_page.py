"""docs/quantization.md: its Python runs, its command and its table name what there is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrm_pl.artifact.build import build_artifact
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.parameter_names import upstream_ops
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.trainer import DLRMTrainer
from tests.support import tiny
from tests.support.lpot import SEED
from tests.support.resumable import SETTINGS, data

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

GUIDE = (Path(__file__).parents[2] / "docs" / "quantization.md").read_text()


def blocks_of(section: str) -> list[str]:
    """The Python below a heading of the second level."""
    text = GUIDE[GUIDE.index(f"## {section}\n") :].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def workplace(synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the dataset, the checkpoint and the conf.yaml that the guide names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "quickstart").symlink_to(synthetic_folder)
    (tmp_path / "conf.yaml").write_text(SEED)
    data = DLRMDataModule(str(synthetic_folder), batch_size=500)
    torch.manual_seed(0)
    module = DLRMModule(
        *(data.table_sizes,),
        embedding_dim=4,
        bottom_mlp=(13, 4),
        top_mlp=(1,),
        dataset_fingerprint=data.dataset_fingerprint,
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = DLRMTrainer(accelerator="cpu", max_steps=5, limit_val_batches=0, **quiet)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint("runs/quickstart/model.ckpt")
    return tmp_path


def test_python_of_the_guide_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = blocks_of("Coming from LPOT")
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/quantization.md", "exec"), names)
    outcome = names["outcome"]
    assert capsys.readouterr().out.startswith(f"{outcome.certificate.accepted} ")
    assert outcome.certificate.seed == 9527
    assert outcome.certificate.score.endswith("eval_func")
    assert "without a confidence bound" in outcome.certificate.reason
    assert load_artifact(workplace / "artifacts" / "int8").certificate == outcome.certificate
    assert names["logits"].dim() == 1
    assert (workplace / "conf.yaml").read_text() == SEED
    for name in re.findall(r"^\| `([\w]+\.[\w]+)` \|", GUIDE, re.MULTILINE)[:4]:
        assert (workplace / "artifacts" / "int8" / name).is_file(), name


def test_study_of_a_search_is_opened_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    settings = replace(SETTINGS, strategy="tpe", max_trials=12)
    outcome = build_artifact(tiny.model(), data(), settings, tmp_path / "artifacts" / "mine")
    (block,) = blocks_of("Strategies")
    names: dict[str, Any] = {}
    exec(compile(block, "docs/quantization.md", "exec"), names)
    assert len(names["study"].trials) == len(outcome.tuning.trials) == 12
    assert "tables.0" in capsys.readouterr().out


def test_no_python_of_the_guide_is_left_out() -> None:
    assert len(re.findall(r"^```python$", GUIDE, re.MULTILINE)) == 5


def test_ops_of_the_guide_are_those_of_the_reference() -> None:
    plain, stubbed = upstream_ops(tiny.ARCHITECTURE), upstream_ops(tiny.ARCHITECTURE, stubbed=True)
    assert plain["bot_l.2"] == stubbed["bot_l.3"] == "bottom_mlp.1"
    assert plain["top_l.2"] == "top_mlp.1"
    assert plain["emb_l.2"] == "tables.2"
