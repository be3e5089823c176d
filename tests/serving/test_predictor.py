"""The arguments that a Predictor takes."""

from __future__ import annotations

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.serving.predictor import Predictor


def test_a_path_is_no_artifact() -> None:
    with pytest.raises(ConfigurationError, match=r"artifact='art' must be an Artifact\. Load it with load_artifact\."):
        Predictor("art")  # type: ignore[arg-type]
