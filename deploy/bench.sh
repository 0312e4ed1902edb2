#!/usr/bin/env bash
# Measures Heddle beside its peers. Usage: deploy/bench.sh [--only REGEX] [--rounds N] [--smoke]
#   --only REGEX  rows whose group or work matches; groups: rate lease many batch size zerocopy
#                 rtt wake grpc locks pipes dicts footprint
#   --rounds N    interleaved rounds, in shuffled order; 5 by default
#   --smoke       tiny, installs nothing: shows that everything runs
# Prints work | ours | peer | ratio [min-max] | must | aim | met/missed and writes
# build/bench/results.json. Exit status 1 only if a benchmark could not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

smoke=0 pass=()
while (($#)); do
  case $1 in
    --smoke) smoke=1 pass+=(--smoke) ;;
    --only | --rounds) pass+=("$1" "${2:?$1 needs a value}"); shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "bench.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done

# A peer that cannot be had is a row that says so. RUNLEVEL: no server is to start by itself.
install_peers() {
  local one list
  list=$(mktemp)
  while read -r one; do
    [[ -z $one || $one == \#* ]] && continue
    echo "$one" >"$list"
    RUNLEVEL=1 install_packages "$list" || echo "no $one: its rows are skipped"
  done <deploy/peers.txt
  rm -f "$list"
}

if ((!smoke)); then
  install_packages deploy/packages.txt
  install_peers
fi
log=build/bench/build.log
mkdir -p build/bench
echo "== building bench"
programs=(heddled heddle-broker heddle heddle_grpc heddle_bench_pair heddle_bench_grpc
  heddle_bench_objects heddle_bench_locks heddle_bench_dict)
if ! { cmake --preset bench && cmake --build --preset bench --parallel "$(nproc)" \
  --target "${programs[@]}"; } >"$log" 2>&1; then
  tail -n 60 "$log"
  echo "building failed; the whole log is $log"
  exit 1
fi
exec env HEDDLE_BUILD_DIR="$PWD/build/bench" "${HEDDLE_PYTHON:-/usr/bin/python3}" \
  tests/bench/bench.py "${pass[@]}"
