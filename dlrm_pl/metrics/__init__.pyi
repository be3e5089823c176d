from .auroc import ExactAUROC as ExactAUROC
from .calibration import ClickCalibration as ClickCalibration
from .calibration_sums import click_calibration as click_calibration
from .calibration_sums import normalized_entropy as normalized_entropy
from .paired import PairedDifference as PairedDifference
from .paired import paired_auroc_difference as paired_auroc_difference
from .ranking import exact_auroc as exact_auroc
