#!/usr/bin/env bash
# Measures speed on one GPU, then runs the full-width experiments, in order of worth, within a total time. What is
# finished counts: every experiment is a comparison of its own that shares a store with the others, and its result is kept
# as soon as it ends. So is each part of the speed measurement.
#
#   benchmarks/gpu.sh DATA [OUT]     DATA holds CIFAR-100; OUT gets the results (default: benchmarks/results)
#   benchmarks/gpu.sh --dry [OUT]    quick versions on packaged characters, to show that all works; no evidence
#
# MINUTES (default 9) is the total time. A part that is out of time is stopped, and continues in the next call with the
# same STORE (default runs/gpu-store). WORKERS processes share the GPU (default 12; 1 with --dry): a step of such small networks keeps
# a core busy, not the GPU. SPEED_SECONDS (default 150; 60 with --dry) is the time for speed; 0 leaves it out.
# GERMLINE_COMMIT names the commit in the results where the checkout has no history.
set -uo pipefail
cd "$(dirname "$0")/.."

dry=
if [ "${1:-}" = --dry ]; then
  dry=1
  shift
elif [ -z "${1:-}" ]; then
  echo "gpu.sh: No data folder is given. The experiments read CIFAR-100. Give its folder, or use --dry." >&2
  exit 2
else
  GERMLINE_DATA=$(mktemp -d)
  export GERMLINE_DATA
  trap 'rm -rf "$GERMLINE_DATA"' EXIT
  ln -s "$(realpath "$1")" "$GERMLINE_DATA/cifar100"
  shift
fi
out=$(realpath -m "${1:-benchmarks/results}")
store=${STORE:-runs/gpu-store}
workers=${WORKERS:-$([ -n "$dry" ] && echo 1 || echo 12)}
deadline=$((SECONDS + ${MINUTES:-9} * 60))
mkdir -p "$out" "$store"
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

# speed SECONDS: measure speed for at most so many seconds; gpu_speed.py has a limit for each of its parts.
speed() {
  local left=$((deadline - SECONDS)) limit=$1
  [ "$limit" -gt 0 ] || return
  [ "$limit" -le "$left" ] || limit=$left
  timeout --kill-after=10 $((limit + 20)) \
    python3 benchmarks/gpu_speed.py --seconds "$limit" --out "$out" ${dry:+--dry} ||
    echo "gpu-speed: ended with exit code $?; finished parts are in $out"
}

# part NAME RECIPE [OPTION...]: run a comparison for the time that is left, and keep its result.
part() {
  local name=$1 recipe=$2 left=$((deadline - SECONDS))
  shift 2
  if [ "$left" -lt 20 ]; then
    echo "$name: not started, no time is left"
    return
  fi
  local began=$SECONDS
  timeout --signal=INT --kill-after=10 "$left" \
    python3 -m germline compare "$recipe" --out "runs/$name" --store "$store" --workers "$workers" --resume "$@"
  local code=$?
  if [ "$code" -eq 0 ]; then
    cp "runs/$name/results.json" "$out/$name.json"
    echo "$name: finished in $((SECONDS - began)) s"
  else
    echo "$name: stopped with exit code $code after $((SECONDS - began)) s; finished parts are in $store"
  fi
}

if [ -n "$dry" ]; then
  speed "${SPEED_SECONDS:-60}"
  part gpu-dry-tleg-same-labels benchmarks/gpu/tleg-same-labels.yaml --quick
  part gpu-dry-any-size benchmarks/gpu/any-size.yaml --quick
  part gpu-dry-gtl-cifar-fs benchmarks/gpu/gtl-cifar-fs.yaml --quick
else
  speed "${SPEED_SECONDS:-150}"
  # One seed first, so that a slow GPU has a result too. Later seeds find ancestor, gene and cells in the store.
  part gpu-tleg-same-labels-1 benchmarks/gpu/tleg-same-labels.yaml --set 'seeds=[0]'
  part gpu-any-size-1 benchmarks/gpu/any-size.yaml --set 'seeds=[0]'
  part gpu-gtl-cifar-fs-1 benchmarks/gpu/gtl-cifar-fs.yaml --set 'seeds=[0]'
  part gpu-tleg-same-labels benchmarks/gpu/tleg-same-labels.yaml
  part gpu-any-size benchmarks/gpu/any-size.yaml
  part gpu-gtl-cifar-fs benchmarks/gpu/gtl-cifar-fs.yaml
fi
