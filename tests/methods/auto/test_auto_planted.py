"""The only layer that decides the labels scores highest: three cases of benchmarks/auto_planted.py."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("auto_planted", BENCHMARKS / "auto_planted.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.mark.parametrize(("seed", "layer"), [(0, 0), (1, 3), (3, 1)])
def test_the_planted_layer_scores_highest(benchmark, seed, layer):
    scores, accuracy = benchmark.planted(seed, layer, steps=100)
    assert scores.index(max(scores)) == layer
    assert accuracy > 0.5
    assert all(0 <= score <= 6 for score in scores)


def test_taps_are_independent_and_of_equal_norm(benchmark):
    stub = benchmark.Stub(0)
    kernels = [tap.weight.flatten(1) for tap in stub.taps]
    for index, one in enumerate(kernels):
        for other in kernels[index:]:
            product = one @ other.T
            expected = benchmark.torch.eye(len(one)) if other is one else benchmark.torch.zeros_like(product)
            assert benchmark.torch.allclose(product, expected, atol=1e-5)
