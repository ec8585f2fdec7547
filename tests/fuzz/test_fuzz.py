"""Seeded changes of every artefact are refused, or read with the saved content; no raw error and no hang occurs.

`python tools/fuzz.py --minutes 10` runs more of them.
"""

import pytest

from .artefacts import ARTEFACTS
from .fuzzing import OUTCOMES, REFUSALS, Fuzzer, run_cases

# Cases of each artefact; together they take about 15 seconds.
CASES = {"out-run": 20, "results": 16, "results-without-hash": 16}


@pytest.mark.parametrize("name", ARTEFACTS)
def test_changed_artefacts_are_refused_or_unchanged(name, tmp_path):
    count = CASES.get(name, 25)
    fuzzer = Fuzzer(ARTEFACTS[name], tmp_path, seed=0)
    run_cases(fuzzer, 0, count)
    assert not fuzzer.bad, "\n".join(fuzzer.bad)
    assert sum(fuzzer.counts.values()) == count
    assert set(fuzzer.counts) <= set(OUTCOMES)
    assert fuzzer.counts[REFUSALS] > count / 8
