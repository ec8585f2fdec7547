"""The ledger accounts for every element, once."""

import pytest

from germline.errors import LedgerError
from germline.ledger import Ledger


def ledger():
    book = Ledger()
    book.add("a", "copied", 6)
    book.add("a", "fresh", 2)
    book.add("b", "expanded", 8)
    return book


def test_totals_and_shares_add_up():
    assert ledger().totals() == {"copied": 6, "expanded": 8, "fresh": 2}
    assert ledger().shares() == {"copied": 0.375, "expanded": 0.5, "fresh": 0.125}


def test_json_round_trip():
    assert Ledger(ledger().to_json()).entries == ledger().entries


def test_a_complete_ledger_passes_when_the_fresh_tensor_is_declared():
    ledger().check({"a": 8, "b": 8}, fresh_allowed=["a"])
    with pytest.raises(LedgerError, match=r"Fresh elements in \['a'\]"):
        ledger().check({"a": 8, "b": 8})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"a": 8}, r"the network lacks \['b'\]"),
        ({"a": 8, "b": 8, "c": 1}, r"The ledger lacks \['c'\]"),
        ({"a": 9, "b": 8}, "'a' has 9 elements, the ledger counts 8"),
    ],
)
def test_a_gap_is_named(sizes, message):
    with pytest.raises(LedgerError, match=message):
        ledger().check(sizes, fresh_allowed=["a"])


def test_an_origin_that_does_not_exist_is_refused():
    with pytest.raises(LedgerError, match="Unknown origin 'borrowed'"):
        Ledger().add("a", "borrowed", 1)
