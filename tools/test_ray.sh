#!/usr/bin/env bash
# Tests on a Ray cluster of two nodes and on a local S3-compatible server, in a fresh virtual environment. The outcomes
# go to benchmarks/results/ray-cluster.json.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf .venv-ray
python3 -m venv .venv-ray
. .venv-ray/bin/activate
export OMP_NUM_THREADS=1
python -m pip install --quiet -e '.[test,ray]'
# In two steps: pip takes very long to choose among the versions of both at once.
python -m pip install --quiet -e '.[s3]' 'moto[server]>=5'
GERMLINE_RAY_RESULT=benchmarks/results/ray-cluster.json python -m pytest tests/cluster
