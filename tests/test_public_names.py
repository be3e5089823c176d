import pytest

import dlrm_pl


def test_every_public_name_can_be_imported() -> None:
    assert sorted(dlrm_pl.__all__) == sorted(dlrm_pl._HOMES) == sorted(dir(dlrm_pl))
    for name in dlrm_pl.__all__:
        assert getattr(dlrm_pl, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dlrm_pl.nothing
