"""Exceptions that a user may catch. Every message says what was wrong, where, the value, what to do."""


class DLRMError(Exception):
    """Base of all errors caused by wrong use or wrong input; the command line turns it into exit status 2."""


class ConfigurationError(DLRMError):
    """Options that contradict each other or cannot work together."""


class DataFormatError(DLRMError):
    """A file, or a record in it, does not have the layout it should have."""


class DatasetError(DLRMError):
    """A dataset folder is missing, incomplete, or not the one that a model was made for."""


class ShapeError(DLRMError):
    """Tensors whose shapes do not fit together."""


class LookupIndexError(DLRMError, IndexError):
    """A batch names a row that its table does not have."""


class MetricError(DLRMError):
    """A metric is undefined on these rows, for example AUROC on a single class."""


class NonFiniteError(DLRMError):
    """A loss or a score is NaN or infinite."""


class BaselineError(DLRMError):
    """The float model cannot be scored on some rows, so no quantized model can be compared with it there."""


class EvaluationError(DLRMError):
    """A user's ``eval_func`` raised an error."""


class CheckpointError(DLRMError):
    """A checkpoint is unreadable, not ours, or does not fit the model or the dataset."""


class CalibrationError(DLRMError):
    """An observer saw no data, or calibration data overlaps the data of another stage."""


class ArtifactError(DLRMError):
    """An artifact folder is incomplete, damaged, tampered with, or of another version."""


class VerificationError(DLRMError):
    """What was recomputed is not what a certificate states."""


class OutputError(DLRMError):
    """An output cannot be written: in use, read-only, or not ours to replace."""
