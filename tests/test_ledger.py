"""The ledger counts every element once."""

import pytest

from germline.errors import LedgerError
from germline.ledger import Ledger


def make_ledger():
    ledger = Ledger()
    ledger.add("a", "copied", 6)
    ledger.add("a", "fresh", 2)
    ledger.add("b", "expanded", 8)
    return ledger


def test_totals_and_shares_add_up():
    assert make_ledger().totals() == {"copied": 6, "expanded": 8, "fresh": 2}
    assert make_ledger().shares() == {"copied": 0.375, "expanded": 0.5, "fresh": 0.125}


def test_json_round_trip():
    assert Ledger(make_ledger().to_json()).entries == make_ledger().entries


def test_complete_ledger_passes_with_declared_fresh_tensors():
    make_ledger().check({"a": 8, "b": 8}, fresh_allowed=["a"])
    with pytest.raises(LedgerError, match=r"Fresh elements in \['a'\]"):
        make_ledger().check({"a": 8, "b": 8})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"a": 8}, r"the network lacks \['b'\]"),
        ({"a": 8, "b": 8, "c": 1}, r"The ledger lacks \['c'\]"),
        ({"a": 9, "b": 8}, "'a' has 9 elements, the ledger counts 8"),
    ],
)
def test_missing_and_miscounted_tensors_are_named(sizes, message):
    with pytest.raises(LedgerError, match=message):
        make_ledger().check(sizes, fresh_allowed=["a"])


def test_unknown_origin_is_refused():
    with pytest.raises(LedgerError, match="Unknown origin 'borrowed'"):
        Ledger().add("a", "borrowed", 1)
