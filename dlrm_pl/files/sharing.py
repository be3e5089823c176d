"""Files that two folders share."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)


def share_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it if the file systems do not support that.

    Raises:
        OSError: the file can be neither linked nor copied.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError as error:
        log.info("%s: is copied, because it cannot be linked to %s (%s)", source, target, error.strerror)
        shutil.copyfile(source, target)
