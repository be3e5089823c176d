"""Names of tests must be equal in every process that runs them."""

from __future__ import annotations

import pytest

from tests.support.names import refuse_addresses


def test_names_that_show_an_address_are_refused() -> None:
    good = "tests/test_a.py::test_of_hashes[0xffff]"
    bad = f"tests/test_a.py::test_of_loaders[{object()}]"
    refuse_addresses([good])
    with pytest.raises(pytest.UsageError, match=r"the names of 1 tests show an address.*test_of_loaders\[<object"):
        refuse_addresses([good, bad])
