"""Lines of Lightning's log that a command shows."""

from __future__ import annotations

import logging
import re

from dlrm_pl.cli.output import Verbosity

_LOGS = ("pytorch_lightning", "lightning_fabric")
_INFO_LOGS = (*(f"{name}.utilities.rank_zero" for name in _LOGS), "lightning_fabric.utilities.seed")
"""Logger through which Lightning reports what is neither a warning nor an error."""

_DEVICES = ("GPU available: ", "TPU available: ", "HPU available: ")
_IN_EVERY_RUN = ("Seed set to ", *_DEVICES, "`Trainer.fit` stopped: `max_epochs=")
_RANK = re.compile(r"^\[rank: \d+\] ")
_ADVERTISEMENT = "seamless"


class _EveryRun(logging.Filter):
    """Drop the lines that Lightning logs in every run: they repeat settings, or list devices."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is shown; each warning is."""
        text = _RANK.sub("", record.getMessage())
        return record.levelno > logging.INFO or not text.startswith(_IN_EVERY_RUN)


class _Advertisements(logging.Filter):
    """Drop the advice to install another product."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is shown."""
        return _ADVERTISEMENT not in record.getMessage()


_every_run, _advertisements = _EveryRun(), _Advertisements()


def show_lightnings_lines(verbosity: Verbosity) -> None:
    """Show Lightning's warnings; without `--quiet`, its lines about this run; with `--verbose`, all of its lines."""
    for name in _LOGS:
        logging.getLogger(name).setLevel(logging.WARNING if verbosity.quiet else logging.INFO)
    for name in _INFO_LOGS:
        logger = logging.getLogger(name)
        logger.addFilter(_advertisements)
        if verbosity.verbose:
            logger.removeFilter(_every_run)
        else:
            logger.addFilter(_every_run)
