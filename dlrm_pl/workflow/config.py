"""All settings of one quantization, in one frozen object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.metrics.metric import Metric
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.settings import TuningSettings


@dataclass(frozen=True)
class QuantizationConfig:
    """All settings of one quantization: how to search, by which score, and where to write.

    Attributes:
        output: folder to write the artifact to.
        tuning: how to search.
        eval_func: function that scores a model, for example a class path whose instances take the model and return a
            float. It has no paired test, so every trial reads all the rows that the function reads.
        metric: torchmetrics Metric of probabilities and labels (a class path in YAML), computed on all tuning rows.
            Without one, trials are scored by the exact AUROC, the only score with a paired test, which therefore reads
            few rows.
        allow_nonfinite: read NaN and infinity in the tables as 0 instead of refusing the model.
        overwrite: replace an artifact in ``output`` that was made with other settings.
        with_vocabulary: put the dataset's dictionaries into the artifact, so that it can score raw values without the
            dataset.
        refresh: artifact of an earlier checkpoint of the same model, whose recipe is kept: only rows that have changed
            since then are packed, and a delta is written next to ``output``. There is no search for a recipe.
        calibration_rows: number of rows at the beginning of val to use for calibration; None: as the data module
            states.

    Raises:
        ConfigurationError: a value has the wrong type, two scores are given, or a guard does not work with the score.

    Example:
        >>> from dataclasses import replace
        >>> from dlrm_pl import QuantizationConfig, TuningSettings
        >>> config = QuantizationConfig(output="artifacts/a", tuning=TuningSettings(max_trials=20))
        >>> replace(config, output="artifacts/b").tuning.max_trials
        20
    """

    output: Path = Path("artifacts/int8")
    tuning: TuningSettings = field(default_factory=TuningSettings)
    eval_func: Callable[[nn.Module], float] | None = None
    metric: Metric | None = None
    allow_nonfinite: bool = False
    overwrite: bool = False
    with_vocabulary: bool = False
    refresh: Path | None = None
    calibration_rows: int | None = None

    def __post_init__(self) -> None:
        """Check the values, and let the metric say whether lower is better."""
        if isinstance(self.output, str | os.PathLike) and os.fspath(self.output):
            object.__setattr__(self, "output", Path(self.output))
        else:
            raise ConfigurationError(f"output={self.output!r} must be the path of a folder.")
        if self.refresh is not None:
            if not isinstance(self.refresh, str | os.PathLike) or not os.fspath(self.refresh):
                raise ConfigurationError(f"refresh={self.refresh!r} must be the path of an artifact folder.")
            object.__setattr__(self, "refresh", Path(self.refresh).expanduser())
        check_fields(self)
        criterion = self.tuning.criterion
        if self.eval_func is not None and self.metric is not None:
            raise ConfigurationError(
                f"eval_func {self.eval_func!r} and metric {type(self.metric).__name__} are mutually exclusive. Give "
                "one score."
            )
        if self.eval_func is not None and criterion.worst_slice is not None:
            raise ConfigurationError(
                f"worst_slice by {criterion.worst_slice.by!r} needs the probability of each row, which an eval_func "
                "does not return. Remove one of the two."
            )
        directed = with_metric_direction(self.metric, criterion)
        if directed is not criterion:
            object.__setattr__(self, "tuning", dataclasses.replace(self.tuning, criterion=directed))

    @property
    def scored_by_auroc(self) -> bool:
        """Whether trials are scored by the exact AUROC, not by a user's score."""
        return self.eval_func is None and self.metric is None


def with_metric_direction(metric: Metric | None, criterion: Criterion) -> Criterion:
    """Return the criterion with the direction (lower or higher is better) that the metric states, if it does."""
    if metric is not None and metric.higher_is_better is False and criterion.higher_is_better:
        return dataclasses.replace(criterion, higher_is_better=False)
    return criterion
