"""Exceptions that users may catch. Each message says what was wrong, where, the value, and what to do."""


class DLRMError(Exception):
    """Base class of all errors caused by wrong use or wrong input; the command line exits with status 2.

    Example:
        >>> from dlrm_pl import DLRMError, load_checkpoint
        >>> try:
        ...     load_checkpoint("nothing.ckpt")
        ... except DLRMError as error:
        ...     print(error)
        nothing.ckpt: does not exist. Give a checkpoint file that `fit` wrote.

    Attributes:
        on_all_processes: whether all processes of a training run raise this error, so that only the first one prints
            it.
    """

    on_all_processes = False


class ConfigurationError(DLRMError):
    """An option or argument has a wrong value, or contradicts another one."""


class DataFormatError(DLRMError):
    """A file, or a record in it, does not have the expected layout."""


class DatasetError(DLRMError):
    """A dataset folder is missing, incomplete, or not the one that a model was made for."""


class ShapeError(DLRMError):
    """The shapes of tensors do not fit together."""


class LookupIndexError(DLRMError, IndexError):
    """A batch has an index outside its table."""


class MetricError(DLRMError):
    """A metric is undefined on these rows, for example AUROC on a single class."""


class NonFiniteError(DLRMError):
    """A loss or a score is NaN or infinite."""


class BaselineError(DLRMError):
    """The float model cannot be scored on some rows, so quantized models cannot be compared with it there."""


class EvaluationError(DLRMError):
    """A user's ``eval_func`` raised an error."""


class CheckpointError(DLRMError):
    """A checkpoint is unreadable, is not one of this package, or does not fit the model or the dataset."""


class CalibrationError(DLRMError):
    """An observer saw no data, or calibration data overlaps the data of another stage."""


class ArtifactError(DLRMError):
    """An artifact folder is incomplete, corrupt or tampered with, or has another version."""


class VerificationError(DLRMError):
    """A recomputed value differs from what a certificate states."""


class HubError(DLRMError):
    """The Hugging Face Hub refuses a request or cannot be reached, or the requested files are not in its cache."""


class ClusterError(DLRMError):
    """A machine of a cluster is missing or lost, or has another installation or sees other files than the rest."""


class OutputError(DLRMError):
    """An output cannot be written: it is in use, read-only, or a file that may not be replaced."""


class ProcessError(DLRMError):
    """Another process of a multi-process training run did not start, has ended, or does not respond."""
