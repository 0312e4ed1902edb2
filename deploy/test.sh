#!/usr/bin/env bash
# Builds and runs all tests. Usage: deploy/test.sh [--quick] [--long] [-R regex] [--sanitizers]
#   --quick       no sanitizer runs, and without the tests labelled slow
#   --long        soaks with their long figures, and the tests labelled long
#   -R regex      only tests whose name matches; the sanitizer runs need --sanitizers too
#   --sanitizers  ASan+UBSan and TSan although --quick or -R was given
# The points, states, kills and seconds that tests have to show are lines "SHOWN test: figures".
# Last line: "N passed, N failed, N skipped", by cases. Exit status 0 only if something ran and
# nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/packages.sh

quick=0 long=OFF regex='' sanitizers=''
while (($#)); do
  case $1 in
    --quick) quick=1 ;;
    --long) long=ON ;;
    -R) regex=${2:?-R needs a regular expression}; shift ;;
    --sanitizers) sanitizers=1 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "test.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done
[[ -n $sanitizers ]] || sanitizers=$((quick == 0 && ${#regex} == 0))

passed=0 failed=0 skipped=0 notes=()
python=${HEDDLE_PYTHON:-/usr/bin/python3}
jobs=$(nproc)

finish() {
  local status=$?
  ((status != 0 && failed == 0)) && failed=1  # it ended before the tests did
  ((${#notes[@]})) && printf '%s\n' "${notes[@]}"
  echo "$passed passed, $failed failed, $skipped skipped"
  ((passed > 0 && failed == 0)) || exit 1
}
trap finish EXIT
trap 'exit 130' INT TERM

skip_run() {
  notes+=("SKIPPED $1: $2")
  skipped=$((skipped + 1))
}

# build PRESET [TARGET]: quiet unless it fails.
build() {
  local preset=$1 log=build/$1/build.log
  mkdir -p "build/$preset"
  echo "== building $preset"
  if ! cmake --preset "$preset" -DHEDDLE_BUILD_TESTS=ON -DHEDDLE_LONG_TESTS="$long" \
    >"$log" 2>&1 || ! cmake --build --preset "$preset" --parallel "$jobs" \
    ${2:+--target "$2"} >>"$log" 2>&1; then
    grep -nE -A12 'FAILED|error:|Error' "$log" | head -n 120 || tail -n 60 "$log"
    echo "building $preset failed; the whole log is $log"
    notes+=("FAILED build of $preset")
    failed=$((failed + 1))
    return 1
  fi
}

# run_tests PRESET CTEST_OPTION...: adds to the counts; a failing test's output is shown.
run_tests() {
  local preset=$1 dir=build/$1 line counts
  shift
  rm -rf "$dir/results" "$dir/junit.xml"
  echo "== testing $preset"
  (cd "$dir" && ctest --output-on-failure --test-output-size-passed 1048576 \
    --no-label-summary --output-junit junit.xml -j "$jobs" ${regex:+-R "$regex"} "$@") || true
  if [[ ! -s $dir/junit.xml ]]; then
    notes+=("FAILED $preset: ctest ran nothing")
    failed=$((failed + 1))
    return
  fi
  while read -r line; do
    case $line in
      [0-9]*) counts=($line) ;;
      *) notes+=("$line") ;;
    esac
  done < <("$python" tests/support/summary.py "$preset" "$dir/junit.xml" "$dir/results")
  passed=$((passed + counts[0])) failed=$((failed + counts[1]))
  skipped=$((skipped + counts[2]))
}

# A sanitizer that cannot start on this kernel is a skip, not a failure of ours.
sanitizer_works() {
  local probe
  probe=$(mktemp -d)
  echo 'int main() { return 0; }' >"$probe/probe.cc"
  local status=0
  { g++ "-fsanitize=$1" "$probe/probe.cc" -o "$probe/probe" && "$probe/probe"; } \
    >/dev/null 2>&1 || status=1
  rm -rf "$probe"
  return $status
}

run_sanitizer() {
  local preset=$1
  if ! sanitizer_works "$2"; then
    skip_run "$preset" "a program built with -fsanitize=$2 does not start here"
    return
  fi
  build "$preset" "${preset}_tests" && run_tests "$preset" -L "^$preset\$" "${leave_out[@]}"
}

install_packages deploy/packages.txt
export CTEST_OUTPUT_ON_FAILURE=1
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
exclude=()
((quick)) && exclude+=(slow)
[[ $long == ON ]] || exclude+=(long)
leave_out=()
((${#exclude[@]})) && leave_out=(-LE "^($(IFS='|'; echo "${exclude[*]}"))\$")

if build release; then run_tests release "${leave_out[@]}"; fi
if ((sanitizers)); then
  run_sanitizer asan address || true
  run_sanitizer tsan thread || true
fi
