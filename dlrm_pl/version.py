"""The version of the installed package; pyproject.toml states it."""

from importlib.metadata import version

__version__ = version("dlrm-pl")
