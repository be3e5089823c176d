"""Build a certified artifact folder from a float model: tune, save, load what was saved, and certify it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import resource
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.file import write_certificate
from dlrm_pl.artifact.columns import check_encoder
from dlrm_pl.artifact.digests import save_digests
from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.artifact.manifest import (
    CERTIFICATE_NAME,
    REPORT_NAME,
    RESULT_NAME,
    TRIALS_NAME,
    WEIGHTS_NAME,
    Manifest,
    file_sha256,
)
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.refreshing.delta import delta_path, planned_delta, write_delta
from dlrm_pl.artifact.refreshing.packer import refreshing_packer
from dlrm_pl.artifact.report.page import render
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.store import load_model, recognize_artifact, save_weights
from dlrm_pl.artifact.tensors import to_tensors
from dlrm_pl.artifact.writing.certified import certified
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.artifact.writing.result_file import plain_settings, write_result
from dlrm_pl.artifact.writing.search_identity import name_of_score, search_identity
from dlrm_pl.artifact.writing.sensitivities import Sensitivities
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME, save_encoder
from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.files.atomic import atomic_folder, check_folder
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.replacement import PlannedOutput
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.files.watched import Watch
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.judging.certification import Certification
from dlrm_pl.quantization.judging.evaluation import AUROCEvaluation, EvalFunc
from dlrm_pl.quantization.judging.row_sets import RowSets
from dlrm_pl.quantization.ptq.quantize import table_packer
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from dlrm_pl.quantization.search.kept_recipe import keep_recipe
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.objective import LatencyTimer
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.start import first_recipe
from dlrm_pl.quantization.search.strategies.model_based.optuna_sampler import STUDY_NAME
from dlrm_pl.quantization.search.trials.trial import Trial
from dlrm_pl.quantization.search.trials.trial_log import TrialLog
from dlrm_pl.quantization.search.tune import TuningSettings, tune
from dlrm_pl.runtime.cpu import describe_machine
from dlrm_pl.runtime.int8_dlrm import fp32_bytes
from dlrm_pl.runtime.tables import row_bytes

log = logging.getLogger(__name__)


def build_artifact(
    model: DLRM,
    data: RowSets,
    settings: TuningSettings,
    output: str | os.PathLike[str],
    *,
    eval_func: EvalFunc | None = None,
    timer: LatencyTimer | None = None,
    listeners: Sequence[TuningListener] = (),
    progress: Callable[[int], None] | None = None,
    overwrite: bool = False,
    encoder: RowEncoder | None = None,
    base: RefreshBase | None = None,
    training: TrainingRecord | None = None,
) -> Outcome:
    """Search for a recipe, save the quantized model, certify what was saved, and put the folder in place.

    ``dlrm_pl.quantize`` does the same from a module and a data module.

    Args:
        model: float model on the CPU, in evaluation mode; not changed.
        data: the three sets of rows.
        settings: how to search, and how large a drop is tolerated.
        output: the artifact folder; it appears at the very end, all at once. An earlier artifact there of the same
            model, rows and settings is replaced, and an interrupted search of them is continued.
        eval_func: function that scores trials; None: AUROC on ``data.tuning``.
        timer: measures the speed of accepted models, see ``tune``.
        listeners: objects that are notified of each trial.
        progress: called with the number of bytes of float tables that were read and packed.
        overwrite: replace an earlier artifact that was made with other settings.
        encoder: dictionaries of the dataset to put into the artifact; None: the artifact has none.
        base: earlier artifact whose recipe and tables are reused, and relative to which a delta is written. Nothing is
            scored on the tuning rows then, unless ``eval_func`` is given, and no listener is notified of a trial. None:
            a recipe is searched for, and all tables are packed.
        training: record of the model's training, for the report; None if unknown.

    Returns:
        The folder, its manifest and certificate, and all trials.

    Raises:
        OutputError: the folder cannot be written, is in use, or holds something else; or the disk is too small.
        NonFiniteError: a table holds NaN or infinity.
        ArtifactError: the saved model does not run the integer ops of its recipe.
        ConfigurationError: the dictionaries are not those of the model.
        DLRMError: see ``tune``.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import Criterion, DLRMDataModule, RowSets, TuningSettings, build_artifact, load_checkpoint
        >>> model = load_checkpoint("runs/quickstart/model.ckpt").model.eval()
        >>> datamodule = DLRMDataModule("datasets/quickstart")
        >>> datamodule.setup("test")
        >>> settings = TuningSettings(criterion=Criterion(relative=0.05), max_trials=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     outcome = build_artifact(model, RowSets.of_datamodule(datamodule), settings, f"{folder}/int8")
        >>> outcome.certificate.rows == len(datamodule.test_dataloader().dataset)
        True
    """
    output = Path(output)
    if encoder is not None:
        check_encoder(encoder, data.columns, model.architecture)
    limits: dict[str, Any] = {
        "timeout_s": settings.timeout_s,
        "max_trials": settings.max_trials,
        "stop_at": settings.stop_at,
    }
    contents: dict[str, Any] = {"with_vocabulary": encoder is not None}
    planned = partial(PlannedOutput, "quantize", recognize=recognize_artifact, overwrite=overwrite)
    # All but the checksum of the weights is known, which comes from reading them.
    identity = search_identity("", model, data, settings, eval_func)
    del identity["model"]
    if base is not None:
        limits |= base.identity()
        check_folder(delta_path(output), planned_delta(identity | contents | limits, overwrite))
    with atomic_folder(output, planned(identity | contents | limits)) as folder:
        log.info("%s", _plan(model, settings, folder))
        if loose := settings.criterion.loose:
            log.warning("%s: this tolerates more than 10 %%, which is rarely intended; 0.001 is 0.1 %%", loose)
        file = model.weights_file
        stored, stated = ({}, {}) if file is None else (file.tensors, file.digests)
        # Without a base, all rows are read anyway, and compared with the checksums in the file.
        checksums = parameter_checksums(model, stored, stated if base is not None else {})
        if base is None:
            packer, start = table_packer(model, folder, progress, checksums), first_recipe(model, settings)
        else:
            packer, start = refreshing_packer(base, model, folder, progress, checksums), base.recipe
        packer.packed(start.tables)  # Before the first trial, so that a damaged table stops it here.
        checksum = model_checksum(model, checksums)  # Already known for tables that were packed.
        identity = search_identity(checksum, model, data, settings, eval_func)
        planned(identity | contents | limits).check(output)
        trial_log = TrialLog(trial_log_path(output), identity)
        study = trial_log.sibling_path(STUDY_NAME)  # A strategy with Optuna recreates it from the log.
        try:
            result = _kept(model, data, settings, base, packer, eval_func) or tune(
                model,
                data.calibration,
                eval_func or AUROCEvaluation(data.tuning),
                settings,
                start=start,
                packer=packer,
                trial_log=trial_log,
                timer=timer,
                listeners=[*listeners, _Watching(model.watch)],
                columns=data.columns,
            )
        finally:
            trial_log.discard_if_empty()
        if not result.best.unscored:
            log.info("best: %s; stopped because %s", result.best.recipe.describe(), result.stopped_because)
        save_weights(result.model, folder)
        lines = "".join(json.dumps(trial.to_dict()) + "\n" for trial in result.trials)
        (folder / TRIALS_NAME).write_text(lines, encoding="utf-8")
        tables = packer.keep(result.best.recipe.tables)
        save_digests(checksums, folder)
        manifest = _manifest(model, checksum, result, data, packer)
        # Certify what is on disk, loaded as a server loads it. Tables that are already patched in memory are reused,
        # since patching another map of them would copy the pages of their changed rows once more.
        places = {name: folder / name for name in (WEIGHTS_NAME, *tables)}
        served = load_model(places, manifest, patched=packer.patched)
        score = name_of_score(eval_func)
        certificate, certification = certified(model, served, result, data, settings, manifest, score)
        model.watch.check()  # Everything was computed from the same, unchanged file.
        write_certificate(certificate, folder)
        manifest = dataclasses.replace(manifest, accepted=certificate.accepted)
        sensitivities = Sensitivities.found_in(trial_log.notes, result.trials)
        # An interrupted search may be finished under other limits.
        made_from = identity | contents | ({} if result.interrupted else limits)
        write_result(folder, result, certificate, settings, sensitivities, made_from)
        refreshed_from = "" if base is None else base.folder.name
        _write_report(
            folder, result, manifest, certificate, certification, settings, sensitivities, refreshed_from, training
        )
        names = [WEIGHTS_NAME, CERTIFICATE_NAME, TRIALS_NAME, RESULT_NAME, REPORT_NAME]
        if encoder is not None:
            save_encoder(encoder, folder / VOCABULARY_NAME)
            names.append(VOCABULARY_NAME)
        if study is not None and study.exists():
            shutil.copyfile(study, folder / STUDY_NAME)
            names.append(STUDY_NAME)
        manifest.files.update(tables | {name: file_sha256(folder / name) for name in names})
        manifest.write(folder)
    if base is not None:
        size = write_delta(output, base, planned_delta(made_from, overwrite))
        log.info("delta: %s in %s", format_bytes(size), delta_path(output))
    if not result.interrupted:
        trial_log.discard()
    log.info("peak memory of this process so far: %s", format_bytes(_peak_memory_bytes()))
    return Outcome(path=output, manifest=manifest, certificate=certificate, tuning=result)


def _kept(
    model: DLRM,
    data: RowSets,
    settings: TuningSettings,
    base: RefreshBase | None,
    packer: TablePacker,
    eval_func: EvalFunc | None,
) -> TuningResult | None:
    """Quantize by the recipe of an earlier artifact; None where the tuning rows have to be scored.

    They have to be scored if there is no earlier artifact, or if trials are judged by another score than AUROC, which
    the certification does not compute.
    """
    if base is None or name_of_score(eval_func) != "AUROC":
        return None
    because = f"the recipe of the artifact {base.folder.name} was kept"
    log.info("%s: %s", because, base.recipe.describe())
    return keep_recipe(model, data.calibration, settings, base.recipe, packer, because=because)


class _Watching(TuningListener):
    """Ends a search whose float model changes while it runs."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        """Check that the file behind the float model is unchanged, before the trial counts."""
        self._watch.check()


def trial_log_path(output: Path) -> Path:
    """Return the path of the log of running trials, next to the artifact folder so that it survives a killed run."""
    output = resolved(output)
    return output.parent / f".{output.name}.{TRIALS_NAME}"


def _plan(model: DLRM, settings: TuningSettings, folder: Path) -> str:
    """Describe the memory and disk space of the search; trials share the float tables and the packed ones.

    Raises:
        OutputError: the disk has too little space for the packed tables.
    """
    dim = model.architecture.embedding_dim
    packed = sum(rows * row_bytes(settings.recipe.tables, dim) for rows in model.architecture.table_sizes)
    require_free_space(folder.parent, packed, "packed tables")
    return (
        f"memory: all trials share the float model ({format_bytes(fp32_bytes(model))}; memory-mapped if it was "
        f"loaded from a file); disk: packed tables take {format_bytes(packed)}, more if some stay float"
    )


def _peak_memory_bytes() -> int:
    """Return the peak memory of this process so far, with the pages of files that it mapped."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _manifest(model: DLRM, checksum: str, result: TuningResult, data: RowSets, packer: TablePacker) -> Manifest:
    _, ops = to_tensors(result.model)
    return Manifest(
        architecture=model.architecture.to_dict(),
        ops=ops,
        recipe=result.best.recipe.to_dict(),
        fp32_bytes=fp32_bytes(model),
        int8_bytes=result.model.model_bytes,
        table_bytes=result.model.table_bytes,
        dataset_fingerprint=data.dataset_fingerprint,
        model_fingerprint=model_fingerprint(model),
        model_checksum=checksum,
        columns=data.columns.statement() if data.columns else {},
        patches=packer.patches,
        machine=describe_machine(),
        accepted=result.accepted,
        nonfinite_rows={f"tables.{index}": count for index, count in sorted(packer.nonfinite_rows.items())},
        files={},
    )


def _write_report(
    folder: Path,
    result: TuningResult,
    manifest: Manifest,
    certificate: Certificate,
    certification: Certification | None,
    settings: TuningSettings,
    sensitivities: Sensitivities,
    refreshed_from: str,
    training: TrainingRecord | None,
) -> None:
    ranges = {name: rows["stop"] - rows["start"] for name, rows in certificate.row_ranges.items()}
    data = ReportData(
        manifest=manifest,
        certificate=certificate,
        trials=result.trials,
        best=result.best.number,
        pareto=[trial.number for trial in result.pareto],
        sensitivities=sensitivities,
        histograms=None if certification is None else certification.histograms,
        settings=plain_settings(settings),
        tuning_rows=min(ranges["tuning"], settings.criterion.max_rows or ranges["tuning"]),
        peak_memory_bytes=_peak_memory_bytes(),
        calibration_rows=ranges["calibration"],
        refreshed_from=refreshed_from,
        training=training,
    )
    (folder / REPORT_NAME).write_text(render(data), encoding="utf-8")
