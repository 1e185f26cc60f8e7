#!/bin/sh
# Communicators under mpirun: everything they promise on 1 to 5 ranks over shared memory and MPI, and
# that waiting for a rank that stalls or dies has an end. BUILD: the build folder. Prints "ok NAME" or
# "FAILED NAME: why" for each run.
set -u
cd "$(dirname "$0")/../.." || exit 1
. launcher/mpi_env.sh
program=${BUILD:-build}/ranks_comm
run="mpirun --oversubscribe"
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
        echo "ok $what"
    else
        failed=$((failed + 1))
        echo "$output" | head -20
        echo "FAILED $what: exit $code, want $want"
    fi
}

[ -x "$program" ] || { echo "FAILED comm: no program $program"; exit 1; }
expect "comm without a launcher" 0 "$program" check auto
expect "comm unknown backend" 1 "$program" check nvlink
for backend in shm mpi; do
    for ranks in 1 2 3 4 5; do
        expect "comm check $backend on $ranks ranks" 0 $run -np $ranks "$program" check $backend
    done
    expect "comm stall $backend" 0 $run -np 3 "$program" stall $backend
    expect "comm death $backend" fail $run -np 3 "$program" die $backend
done
for ranks in 1 2 5; do
    expect "cores of $ranks ranks" 0 $run -np $ranks "${BUILD:-build}/ranks_cores" "x y"
done
expect "comm parts of MPI ranks in shared memory" 0 $run -np 5 "$program" mixed mpi
expect "comm check auto on 2 ranks" 0 $run -np 2 "$program" check auto
[ $failed -eq 0 ]
