"""Valid and invalid requests generated from the OpenAPI description only get answers that it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from dlrm_pl.server.protocol.openapi import openapi
from tests.support.server.calls import NAME
from tests.support.server.running import running

pytestmark = pytest.mark.untraced

DESCRIPTION = openapi([NAME])
LABELS = [f"{method.upper()} {path}" for path, methods in DESCRIPTION["paths"].items() for method in methods]
SETTINGS = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """Return the operations of the description by name, as schemathesis finds them."""
    import schemathesis  # Imported here because it takes seconds, and every xdist process collects every file.

    found = schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
    return {operation.label: operation for operation in (result.ok() for result in found)}


@pytest.fixture(scope="module")
def checks() -> list[Any]:
    """Return the checks for each answer."""
    import schemathesis
    from schemathesis.specs.openapi import checks

    return [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]


@pytest.fixture(scope="module")
def url(served_folder: Path) -> Iterator[str]:
    with running({NAME: served_folder}) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_description_is_served_and_has_every_path(url: str, operations: dict[str, Any]) -> None:
    with urlopen(f"{url}/openapi.json", timeout=20) as answer:
        assert json.load(answer) == DESCRIPTION
    assert list(operations) == LABELS
    assert len(LABELS) == 12


@pytest.mark.parametrize("valid", [True, False], ids=["valid", "invalid"])
@pytest.mark.parametrize("label", LABELS)
def test_answers_are_as_described(
    url: str, operations: dict[str, Any], checks: list[Any], label: str, valid: bool
) -> None:
    from schemathesis import GenerationMode

    operation = operations[label]
    if not (valid or operation.body or operation.path_parameters):
        pytest.skip("nothing of it can be invalid")
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE

    @SETTINGS
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.validate_response(case.call(base_url=url, timeout=20), checks=checks)

    check()
