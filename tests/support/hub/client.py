"""Settings that make huggingface_hub use the tests' Hub and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.hub.server import TOKEN, Hub


def use_hub(hub: Hub, cache: Path, patch: pytest.MonkeyPatch, token: str | None = TOKEN) -> None:
    """Let the library of this process use a Hub, with its own cache and token."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + path)
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


def environment(hub: Hub, cache: Path, **more: str) -> dict[str, str]:
    """Return the same settings as environment variables for another process."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": TOKEN,
        **more,
    }
