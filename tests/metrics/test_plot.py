"""The plots of the metrics, on axes that are given."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from dlrm_pl.metrics.auroc import ExactAUROC
from dlrm_pl.metrics.calibration import ClickCalibration

SCORES, LABELS = torch.tensor([-2.0, 0.5, 0.5, 3.0]), torch.tensor([0, 0, 1, 1])


def test_auroc_is_plotted_as_a_point_or_a_line() -> None:
    metric = ExactAUROC()
    first = metric(SCORES, LABELS)
    point, line = Figure().subplots(1, 2)
    assert metric.plot(ax=point)[1] is point
    assert [float(y) for y in point.lines[0].get_ydata()] == [0.875]
    metric.plot([first, first + 0.1], ax=line)
    assert [float(y) for y in line.lines[0].get_ydata()] == pytest.approx([0.875, 0.975])


def test_calibration_is_plotted_without_the_counts() -> None:
    metric = ClickCalibration()
    value = metric(SCORES, LABELS)
    points, lines = Figure().subplots(1, 2)
    metric.plot(ax=points)
    metric.plot([value, value], ax=lines)
    for axes in (points, lines):
        assert axes.get_legend_handles_labels()[1] == ["log_loss", "normalized_entropy", "calibration_ratio"]
    assert [float(y) for y in points.lines[2].get_ydata()] == pytest.approx([float(value["calibration_ratio"])])
