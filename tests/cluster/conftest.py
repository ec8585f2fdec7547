"""A Ray cluster of two nodes on this machine, and a record of the tests. Only `tools/test_ray.sh` runs them."""

import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from germline.files import write_json
from germline.learngene import library_versions
from helpers.comparison import RECIPE

# Workers import the helpers of the tests.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
# Ray gives its workers a low priority. On a busy machine the tests would take many times longer.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ROOT = Path(__file__).parents[2]
OUTCOMES, START = {}, time.monotonic()


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    return tmp_path / "micro.yaml"


@pytest.fixture
def start_cluster():
    """Function that starts a cluster of nodes with one CPU each, and connects this process if `connect` is true."""
    import ray
    from ray.cluster_utils import Cluster

    clusters = []

    def start(nodes=2, *, connect=True):
        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        clusters.append(cluster)
        # A driver connects to any node of its machine. It must not be the one that a test kills.
        if connect:
            ray.init(address=cluster.address, log_to_driver=False)
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        cluster.wait_for_nodes()
        return cluster

    yield start
    ray.shutdown()
    for cluster in clusters:
        cluster.shutdown()


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        OUTCOMES[report.nodeid.rpartition("/")[2]] = {"outcome": report.outcome, "seconds": round(report.duration, 1)}


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def pytest_sessionfinish(session):
    """Save the outcomes in the file that `GERMLINE_RAY_RESULT` names."""
    place = os.environ.get("GERMLINE_RAY_RESULT")
    if not place:
        return
    versions = {name: version(name) for name in ("ray", "fsspec", "s3fs", "moto")}
    result = {
        "command": "tools/test_ray.sh" if sys.argv[1:] == ["tests/cluster"] else shlex.join(["pytest", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "tests")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **library_versions(), **versions},
        "platform": sys.platform,
        "seconds": round(time.monotonic() - START, 1),
        "tests": OUTCOMES,
        "good": bool(OUTCOMES) and all(test["outcome"] == "passed" for test in OUTCOMES.values()),
    }
    write_json(Path(place), result)
