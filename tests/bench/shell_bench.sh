#!/usr/bin/env bash
# shell_bench.sh heddle|pipes bridge bytes=N: bytes a second from head to cat, through a pipe of
# Heddle or through three pipes of the kernel in a row. Prints one line of JSON.
set -euo pipefail
peer=$1 bytes=${3#bytes=} name=bench/bridge-$$

from_ns=$(date +%s%N)
if [[ $peer == heddle ]]; then
  heddle pipe recv "$name" | cat >/dev/null &
  head -c "$bytes" /dev/zero | heddle pipe send "$name"
  wait $!
  to_ns=$(date +%s%N)
  heddle pipe delete "$name"
else
  head -c "$bytes" /dev/zero | cat | cat | cat >/dev/null
  to_ns=$(date +%s%N)
fi
awk -v bytes="$bytes" -v ns=$((to_ns - from_ns)) \
  'BEGIN { printf "{\"per_s\": %.0f}\n", bytes * 1e9 / ns }'
