from .auroc import ExactAUROC as ExactAUROC
from .calibration import ClickCalibration as ClickCalibration
from .paired import paired_auroc_difference as paired_auroc_difference
