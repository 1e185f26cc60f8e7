#!/bin/sh
# Communicators under mpirun: everything they promise on 1 to 5 ranks over shared memory and MPI, and
# that waiting for a rank that stalls or dies has an end. Usage: comm.sh BUILD_FOLDER
set -u
build=${1:-build}
program=$build/ranks_comm
run="mpirun --oversubscribe"
[ "$(id -u)" = 0 ] && run="$run --allow-run-as-root"
passed=0
failed=0

expect() { # description, wanted exit code (or "fail" for any but 0 and timeout's 124), command
    what=$1
    want=$2
    shift 2
    output=$(timeout 120 "$@" 2>&1)
    code=$?
    if [ "$want" = fail ] && [ $code -ne 0 ] && [ $code -ne 124 ]; then
        want=$code
    fi
    if [ "$code" = "$want" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $what: exit $code, want $want"
        echo "$output" | head -20
    fi
}

[ -x "$program" ] || { echo "comm.sh: no program $program"; exit 1; }
expect "without a launcher" 0 "$program" check auto
expect "unknown backend" 1 "$program" check nvlink
for backend in shm mpi; do
    for ranks in 1 2 3 4 5; do
        expect "check $backend on $ranks ranks" 0 $run -np $ranks "$program" check $backend
    done
    expect "stall $backend" 0 $run -np 3 "$program" stall $backend
    expect "death $backend" fail $run -np 3 "$program" die $backend
done
expect "check auto on 2 ranks" 0 $run -np 2 "$program" check auto
echo "comm.sh: $passed passed, $failed failed"
[ $failed -eq 0 ]
