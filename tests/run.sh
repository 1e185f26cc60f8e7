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
    export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
else
    BUILD_DIR=${BUILD_DIR:-build}
fi
export BUILD_DIR
sh launcher/setup.sh || exit 1
. launcher/mpi_env.sh

passed=0 failed=0 skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# Counts lines "ok NAME", "FAILED NAME: why" and "skipped NAME: why" that a part prints.
count() {
    passed=$((passed + $(grep -c '^ok ' "$1")))
    failed=$((failed + $(grep -c '^FAILED ' "$1")))
    skipped=$((skipped + $(grep -c '^skipped ' "$1")))
}

echo "== unit tests"
"$BUILD_DIR/dltests" >"$work/unit" 2>&1
status=$?
grep -E '^(skipped|FAILED) |FAILED|^ +[0-9]+\. ' "$work/unit" || true
skipped=$((skipped + $(grep -c '^skipped ' "$work/unit")))
# CUnit: "               tests    123    123    120      3        0"
set -- $(awk '$1 == "tests" {print $4, $5}' "$work/unit")
passed=$((passed + ${1:-0}))
failed=$((failed + ${2:-0}))
[ "$status" = 0 ] || { [ "${2:-0}" -gt 0 ] || { tail -n 20 "$work/unit"; failed=$((failed + 1)); }; }

for target in "$BUILD_DIR"/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/fuzz_}
    if "$target" "tests/fuzz/corpus/$name" >"$work/fuzz" 2>&1; then
        echo "ok fuzz corpus $name: $(tail -n 1 "$work/fuzz")" | tee "$work/line"
    else
        tail -n 20 "$work/fuzz"
        echo "FAILED fuzz corpus $name" | tee "$work/line"
    fi
    count "$work/line"
done

for script in tests/runs/*.sh; do
    case $script in */lib.sh) continue ;; esac
    echo "== $script"
    DLTRAIN="$PWD/$BUILD_DIR/dltrain" BUILD="$PWD/$BUILD_DIR" WORK="$work" \
        timeout 900 sh "$script" >"$work/run" 2>&1
    status=$?
    grep -E '^(ok|FAILED|skipped) ' "$work/run"
    count "$work/run"
    if [ "$status" != 0 ] && ! grep -q '^FAILED ' "$work/run"; then
        tail -n 20 "$work/run"
        echo "FAILED $script: exit $status"
        failed=$((failed + 1))
    fi
done

if [ "$skipped" -gt 0 ] && [ "${DLTRAIN_REQUIRE:-}" = data ] && [ -z "${DLTRAIN_DATA:-}" ]; then
    echo "FAILED data: DLTRAIN_REQUIRE=data, but DLTRAIN_DATA is not set"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
