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
# s3fs accepts few versions of botocore. pip would try the versions of boto3 one by one until one fits it.
python -m pip install --quiet -e '.[s3]'
version=$(python -c 'import botocore; print(botocore.__version__)')
python -m pip install --quiet 'moto[server]>=5' "boto3==$version"
GERMLINE_RAY_RESULT=benchmarks/results/ray-cluster.json python -m pytest tests/cluster
