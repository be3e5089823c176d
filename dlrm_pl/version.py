"""Version of the installed package, as stated in pyproject.toml."""

from importlib.metadata import version

__version__ = version("dlrm-pl")
