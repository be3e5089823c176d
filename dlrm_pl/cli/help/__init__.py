"""Layout of ``--help``."""
