"""``quantize`` without a Trainer, and that no quantization changes its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics import MeanSquaredError
from torchmetrics.classification import BinaryAccuracy

import dlrm_pl
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ArtifactError, ConfigurationError, OutputError
from dlrm_pl.migration.lpot.apply import apply_lpot_conf
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.recipe import RecipeStart
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.workflow.config import QuantizationConfig
from dlrm_pl.workflow.quantize_model import check_rows
from tests.support.training import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LOOSE = TuningSettings(criterion=Criterion(relative=0.5))
CONF = """
model: {name: dlrm, framework: pytorch}
quantization: {calibration: {sampling_size: [100]}}
tuning: {accuracy_criterion: {relative: 60%}, random_seed: 7, workspace: {path: work}}
"""


def state_of(module: DLRMModule) -> Mapping[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def test_a_path_as_text_and_a_metric_are_enough(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    settings = TuningSettings(criterion=Criterion(absolute=0.05), max_trials=1)
    outcome = dlrm_pl.quantize(module, data, f"{tmp_path}/a", settings=settings, metric=MeanSquaredError())
    assert outcome.path == tmp_path / "a"
    assert outcome.certificate.score == "MeanSquaredError"
    assert outcome.tuning.accepted
    for value in (outcome.tuning, outcome.tuning.best, outcome.manifest):
        assert repr(value).startswith(f"{type(value).__name__}(")
        assert len(repr(value)) < 120
    scored = dlrm_pl.quantize(module, data, tmp_path / "b", settings=LOOSE, eval_func=lambda model: 0.5)
    assert scored.tuning.baseline.value == 0.5


@pytest.mark.untraced
def test_the_same_artifact_as_with_a_trainer(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    ours = dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE)
    theirs = quiet_trainer().quantize(module, data, output=str(tmp_path / "b"), relative=0.5)
    assert ours.manifest.model_checksum == theirs.manifest.model_checksum
    for name in ("model.safetensors", "tables.0.bin"):
        if (ours.path / name).exists():
            assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes()
    assert ours.manifest.files["model.safetensors"] == theirs.manifest.files["model.safetensors"]


@pytest.mark.untraced
def test_two_quantizations_leave_callback_module_and_data_module_as_they_were(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    (tmp_path / "conf.yaml").write_text(CONF)
    callback = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(relative=0.5), max_trials=9)
    config, weights, rows = callback.config, state_of(module), data.calibration_rows
    trainer = quiet_trainer(callbacks=[callback])
    first = trainer.quantize(
        module,
        data,
        output=str(tmp_path / "b"),
        relative=0.9,
        max_trials=3,
        lpot_conf=str(tmp_path / "conf.yaml"),
        allow_nonfinite=True,
        overwrite=True,
    )
    assert first.path == tmp_path / "b"
    assert first.certificate.row_ranges["calibration"]["stop"] == 100
    second = trainer.quantize(module, data)
    assert second.path == tmp_path / "a"
    assert second.certificate.row_ranges["calibration"]["stop"] == 200
    assert second.certificate.seed == 9527
    assert callback.config is config
    assert (config.output, config.tuning.max_trials, config.allow_nonfinite) == (tmp_path / "a", 9, False)
    assert data.calibration_rows == rows
    torch.testing.assert_close(state_of(module), weights, rtol=0, atol=0)


@pytest.mark.untraced
def test_fit_with_overwrite_does_not_make_the_callback_overwrite_for_good(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    callback = QuantizationCallback(str(tmp_path / "a"), criterion=Criterion(relative=0.5))
    trainer = quiet_trainer(callbacks=[callback], max_steps=1, limit_val_batches=0, enable_checkpointing=False)
    dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE)
    trainer.fit(module, datamodule=data, overwrite=True)
    assert callback.outcome is not None
    assert not callback.config.overwrite


def test_fit_refreshes_an_artifact_and_looks_at_it_before_the_training(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE)
    callback = QuantizationCallback(str(tmp_path / "b"), criterion=Criterion(relative=0.5), refresh=str(first.path))
    options = {"max_steps": 1, "limit_val_batches": 0, "enable_checkpointing": False}
    quiet_trainer(callbacks=[callback], **options).fit(module, datamodule=data)
    assert callback.outcome is not None
    assert callback.outcome.manifest.patches
    monkeypatch.setattr(DLRMModule, "on_train_start", lambda self: pytest.fail("the training began"))
    larger = DLRMModule(data.table_sizes, embedding_dim=8, bottom_mlp=(13, 8), top_mlp=(1,))
    for path, model, message in (
        (tmp_path / "none", module, "not an artifact"),
        (first.path, larger, r"cannot be refreshed, because its embedding_dim is \d+, but 8"),
    ):
        callback = QuantizationCallback(str(tmp_path / "c"), refresh=path)
        with pytest.raises((ArtifactError, ConfigurationError), match=message):
            quiet_trainer(callbacks=[callback], **options).fit(model, datamodule=data)


def test_a_conf_yaml_gives_a_new_configuration(module: DLRMModule, tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text(CONF)
    config = QuantizationConfig()
    applied = apply_lpot_conf(str(tmp_path / "conf.yaml"), config, architecture=module.architecture)
    assert config == QuantizationConfig()
    assert (applied.output, applied.calibration_rows) == (Path("work/int8"), 100)
    assert (applied.tuning.seed, applied.tuning.criterion.relative) == (7, 0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": 3}, "output=3 must be the path of a folder"),
        ({"output": ""}, "output='' must be the path of a folder"),
        ({"settings": {"seed": 1}}, r"settings=\{'seed': 1\} must be a TuningSettings"),
        ({"metric": "auroc"}, "metric='auroc' must be"),
        ({"eval_func": lambda model: 0.5, "metric": MeanSquaredError()}, "are mutually exclusive"),
        (
            {
                "eval_func": lambda model: 0.5,
                "settings": TuningSettings(criterion=Criterion(worst_slice=WorstSlice(by="C9"))),
            },
            "worst_slice by 'C9' needs the probability of each row",
        ),
    ],
)
def test_a_wrong_option_is_refused(
    options: dict[str, object], message: str, module: DLRMModule, data: DLRMDataModule
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        dlrm_pl.quantize(module, data, **options)  # type: ignore[arg-type]


def test_other_classes_are_refused(module: DLRMModule, data: DLRMDataModule, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs a DLRMModule, got DLRM"):
        dlrm_pl.quantize(module.model, data, tmp_path / "a")  # type: ignore[arg-type]


def test_dictionaries_go_into_the_artifact_where_they_are_those_of_the_model(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    outcome = dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE, with_vocabulary=True)
    assert dlrm_pl.load_artifact(outcome.path).encoder.vocabulary.sizes == data.folder.table_sizes
    with pytest.raises(OutputError, match=r"with_vocabulary changed from True to False.*--overwrite"):
        dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE)
    assert (tmp_path / "a" / "vocabulary.safetensors").is_file()
    capped = DLRMDataModule(data.folder.path, max_ind_range=3)
    with pytest.raises(
        ConfigurationError, match=r"data\.max_ind_range=3 makes ids that differ from those of the dictionaries"
    ):
        check_rows(QuantizationConfig(with_vocabulary=True), capped)


def test_more_training_is_quantized_by_the_artifact_before(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path
) -> None:
    settings = TuningSettings(criterion=Criterion(relative=0.5), recipe=RecipeStart(tables="int4"))
    first = dlrm_pl.quantize(module, data, tmp_path / "a", settings=settings, with_vocabulary=True)
    weights = bags_of(module.model).weights()[3]
    kept = weights.detach().clone()
    with torch.no_grad():
        weights[1] += 1
    second = dlrm_pl.quantize(module, data, tmp_path / "b", settings=LOOSE, refresh=tmp_path / "a")
    whole = dlrm_pl.quantize(module, data, tmp_path / "c", settings=settings)
    with torch.no_grad():
        weights.copy_(kept)
    assert second.manifest.recipe == first.manifest.recipe
    assert second.manifest.patches == {"tables.3": ["table-03-int4.patch-1.safetensors"]}
    assert (second.path / "vocabulary.safetensors").is_file()
    found, expected = dlrm_pl.load_artifact(second.path), dlrm_pl.load_artifact(whole.path)
    for ours, theirs in zip(found.model.tables.all(), expected.model.tables.all(), strict=True):
        assert ours.equal(theirs)
    delta = dlrm_pl.load_artifact(tmp_path / "b.delta", bases=[first.path])
    assert delta.encoder.vocabulary.sizes == data.folder.table_sizes


def test_a_refresh_that_tolerates_more_says_so(
    module: DLRMModule, data: DLRMDataModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = dlrm_pl.quantize(module, data, tmp_path / "a", settings=LOOSE).path
    base = RefreshBase.load(first, module.model)
    for criterion in (LOOSE.criterion, Criterion(relative=0.4), Criterion(absolute=0.01)):
        base.warn_if_less_strict(criterion)
        assert "less strictly" not in caplog.text
    more = TuningSettings(criterion=Criterion(relative=0.6, log_loss=None))
    dlrm_pl.quantize(module, data, tmp_path / "b", settings=more, refresh=first)
    assert (
        f"this refresh is certified less strictly than {first} was: it tolerates a drop of 60% of the AUROC, before "
        "50%; any change of the log loss, before 0.5%. " in caplog.text
    )


@pytest.mark.parametrize(
    ("options", "judged"),
    [
        ({}, True),
        ({"eval_func": float}, False),
        ({"refresh": Path("before")}, False),
        ({"refresh": Path("before"), "metric": BinaryAccuracy()}, True),
    ],
)
def test_tuning_rows_need_both_classes_only_where_they_are_judged(
    data: DLRMDataModule, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], judged: bool
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(data, "require_quantizable", asked.update)
    check_rows(QuantizationConfig(**options), data)
    assert asked == {"tuning": judged, "max_rows": None}


def test_data_module_without_dictionaries_is_refused_before_the_training() -> None:
    names = ("setup", "calibration_dataloader", "tuning_dataloader", "certification_dataloader")
    plain = type("Plain", (), dict.fromkeys(names, lambda self, stage="": []))()
    check_rows(QuantizationConfig(), plain)
    with pytest.raises(
        ConfigurationError, match=r"with_vocabulary needs a data module with the dictionaries.*Plain has"
    ):
        check_rows(QuantizationConfig(with_vocabulary=True), plain)
