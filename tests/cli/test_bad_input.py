"""Bad input: exit code 2, one clear message, no traceback, and the disk as it was. `docs/faults.md` lists the cases."""

import shlex
from pathlib import Path

import pytest

from helpers.bad_input import FAULTS, snapshot


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.id for fault in FAULTS])
def test_fault(fault, bench, run):
    fault.prepare(bench)
    before = snapshot(bench.parent)
    done = run(*shlex.split(fault.words))
    assert done.code == 2, done
    assert done.err.startswith("germline: ")
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    missing = [word for word in fault.says if word not in done.err]
    assert not missing, (missing, done.err)
    assert snapshot(bench.parent) == before


def test_every_case_is_in_the_published_table():
    table = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    assert [fault.id for fault in FAULTS if f"`[{fault.id}]`" not in table] == []
    assert f"{len(FAULTS)} bad inputs" in table
