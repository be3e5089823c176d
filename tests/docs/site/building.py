"""Builds the site in this process, and collects the messages of MkDocs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT


def build(folder: Path, root: Path = ROOT, **options: Any) -> None:
    """Build the site of a repository into a folder, overriding options of mkdocs.yml; raises MkDocs' errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # From libraries that MkDocs imports.
        from mkdocs.commands.build import build as build_site
        from mkdocs.config import load_config
        from mkdocs.exceptions import Abort
        from mkdocs.utils import CountHandler

        config = load_config(str(root / "mkdocs.yml"), site_dir=str(folder), **options)
        counter, records = CountHandler(), _Kept()
        counter.setLevel(logging.WARNING)
        log = logging.getLogger("mkdocs")
        for handler in (counter, records):
            log.addHandler(handler)
        try:
            config.plugins.on_startup(command="build", dirty=False)
            build_site(config)
        except Abort as error:
            raise AssertionError("\n".join([str(error), *records.messages])) from None
        finally:
            config.plugins.on_shutdown()
            for handler in (counter, records):
                log.removeHandler(handler)
    assert not counter.get_counts(), records.messages


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
