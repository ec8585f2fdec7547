"""Bad input: exit code 2, one clear message, no traceback, and an unchanged disk. The cases: helpers/bad_input.py."""

import shlex

import pytest

from helpers.bad_input import FAULTS, snapshot


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.id for fault in FAULTS])
def test_bad_input_is_refused_in_one_line(fault, workdir, run, record_property):
    fault.prepare(workdir)
    before = snapshot(workdir.parent)
    done = run(*shlex.split(fault.words))
    record_property("message", done.err.strip())
    assert done.code == 2, done
    assert done.err.startswith("germline: ")
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    missing = [word for word in fault.says if word not in done.err]
    assert not missing, (missing, done.err)
    assert snapshot(workdir.parent) == before


def test_bad_inputs_are_many_and_have_unique_names():
    assert len(FAULTS) >= 245
    assert len({fault.id for fault in FAULTS}) == len(FAULTS)
