#!/bin/sh
# Sets up, builds, and runs every test; the last line counts passed, failed and skipped.
#   tests/run.sh          all
#   tests/run.sh asan     all, built with the address and undefined-behaviour sanitizers
# DLTRAIN_DATA=FOLDER     real data (mnist/, tabular/); without it the tests that need it are skipped
# DLTRAIN_REQUIRE=data    ... and fail instead
set -u
cd "$(dirname "$0")/.." || exit 1
if [ "${1:-}" = asan ]; then
    BUILD_DIR=build-asan
    CMAKE_FLAGS="-DDL_ASAN=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo"
    export CMAKE_FLAGS
    # Libraries' one-time allocations are not ours to free (MPI, HDF5, OpenMP).
    # Ranks inherit these from mpirun.
    export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
    export ACCURACY=none
else
    BUILD_DIR=${BUILD_DIR:-build}
fi
export BUILD_DIR
exec </dev/null # mpirun reads it
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
passed=0 failed=0 skipped=0

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}

fail() {
    echo "FAILED $1"
    failed=$((failed + 1))
}

# Shows a part's lines "ok NAME", "FAILED NAME: why" and "skipped NAME: why" and counts them; all that it printed
# if anything is amiss. count TITLE FILE STATUS
count() {
    lines=$(grep -cE '^(ok|FAILED|skipped) ' "$2")
    wrong=$(grep -c '^FAILED ' "$2")
    passed=$((passed + $(grep -c '^ok ' "$2")))
    skipped=$((skipped + $(grep -c '^skipped ' "$2")))
    failed=$((failed + wrong))
    if [ "$wrong" -gt 0 ]; then
        tail -n 400 "$2"
    else
        grep -E '^(ok|skipped) ' "$2"
    fi
    if [ "$wrong" = 0 ] && [ "$3" != 0 ]; then
        tail -n 40 "$2"
        fail "$1: exit $3"
    elif [ "$lines" = 0 ]; then
        tail -n 40 "$2"
        fail "$1: nothing ran"
    fi
}

# The same of the program of unit tests. CUnit: "               tests    123    123    120      3        0"
count_unit() {
    grep '^skipped ' "$2"
    skipped=$((skipped + $(grep -c '^skipped ' "$2")))
    # shellcheck disable=SC2046 # two words or none
    set -- "$1" "$2" "$3" $(awk '$1 == "tests" {print $4, $5}' "$2")
    if [ "$3" = 0 ] && [ $# = 5 ] && [ "$4" -gt 0 ] && [ "$5" = 0 ]; then
        passed=$((passed + $4))
        echo "ok $1: $4 tests"
        return
    fi
    tail -n 200 "$2"
    passed=$((passed + ${4:-0}))
    failed=$((failed + ${5:-0}))
    if [ $# != 5 ]; then
        fail "$1: exit $3 before the end"
    elif [ "$5" = 0 ]; then
        fail "$1: exit $3"
    else
        echo "FAILED $1: $5 tests"
    fi
}

sh launcher/setup.sh || { fail "set-up"; finish; }
. launcher/mpi_env.sh

echo "== unit tests"
# OpenMP threads that wait briefly, as the program has them: long spins stall on cores that others use, too.
GOMP_SPINCOUNT=1000 timeout 900 "$BUILD_DIR/dltests" >"$work/unit" 2>&1
count_unit "unit tests" "$work/unit" $?

for target in "$BUILD_DIR"/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/fuzz_}
    timeout 300 "$target" "tests/fuzz/corpus/$name" >"$work/fuzz" 2>&1
    status=$?
    last=$(tail -n 1 "$work/fuzz")
    [ "$status" = 0 ] && echo "ok fuzz corpus $name: $last" >"$work/fuzz"
    count "fuzz corpus $name" "$work/fuzz" "$status"
done

for script in tests/runs/*.sh; do
    case $script in */lib.sh) continue ;; esac
    echo "== $script"
    scratch=$work/$(basename "$script" .sh)
    mkdir "$scratch"
    DLTRAIN="$PWD/$BUILD_DIR/dltrain" BUILD="$PWD/$BUILD_DIR" WORK="$scratch" \
        timeout 1200 sh "$script" >"$work/run" 2>&1
    count "$script" "$work/run" $?
    rm -rf "$scratch"
done
finish
