"""Requests that are made of the OpenAPI description, valid and not: no answer is one that it does not describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dlrm_pl.server.protocol.openapi import openapi
from tests.support.server.calls import NAME
from tests.support.server.running import running

pytestmark = pytest.mark.untraced

DESCRIPTION = openapi([NAME])
OPERATIONS = {
    operation.label: operation
    for operation in (found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations())
}
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SETTINGS = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def url(served_folder: Path) -> Iterator[str]:
    with running({NAME: served_folder}) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_description_is_served_and_has_every_path(url: str) -> None:
    assert requests.get(f"{url}/openapi.json", timeout=20).json() == DESCRIPTION
    assert len(OPERATIONS) == 12


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_described(url: str, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
        pytest.skip("nothing of it can be invalid")

    @SETTINGS
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.validate_response(case.call(base_url=url, timeout=20), checks=CHECKS)

    check()
