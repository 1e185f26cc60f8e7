#!/bin/sh
# What only a GPU can show, in one command of at most ten minutes: every row against the CPU, whole programs, the same
# bits twice and on 1, 2 and 4 ranks of one card, stops and starts between CPU and GPU, the jobs' accuracies, CUDA's
# own checkers. A short table last, JSON beside it. Where there is no GPU all of it is skipped, with the reason.
#   tests/gpu/run.sh [JSON]        default gpu.json in the current folder
# BUILD=FOLDER                     what was built, default build; in a bundle (cluster/bundle.sh) nothing is needed
# DLTRAIN_DATA=FOLDER              mnist/ and cifar10/, or those accuracies are skipped
# ONLY=PATTERN                     checks whose name it matches (grep -E), and the CPU's run that others compare with
# DLTRAIN_GPU_PYTHON=PYTHON        a Python whose wheels hold CUDA's libraries, where no toolkit is
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
json=${1:-gpu.json}
case $json in /*) ;; *) json=$PWD/$json ;; esac
if [ -x "$root/bin/dltrain" ]; then
    programs=$root/bin libraries=$root/lib mpirun=$root/bin/mpirun
else
    programs=$(cd "${BUILD:-$root/build}" && pwd) || exit 66
    libraries=$programs mpirun=mpirun
    . "$root/launcher/mpi_env.sh" >/dev/null
fi
. "$here/cuda_path.sh"
library=${DLTRAIN_CUDA_LIBRARY:-$libraries/libdl_cuda.so}
if [ -e "$library" ]; then
    found=$(cuda_path "$library")
    [ -z "$found" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$found"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 73
exec </dev/null
began=$(date +%s)
last=$((began + ${DLTRAIN_GPU_SECONDS:-570}))
passed=0 failed=0 skipped=0
: >table
: >entries

left() { echo $((last - $(date +%s))); }

# Whatever a check runs ends when all must.
limited() {
    seconds=$(left)
    [ "$seconds" -gt 1 ] || return 124
    timeout "$seconds" "$@"
}

# check NAME FUNCTION ARGUMENTS...: status 0 is ok, 77 skipped; the last line that it prints says more.
check() {
    name=$1
    shift
    echo "$name" | grep -qE "${ONLY:-.}|on the CPU" || return 0
    start=$(date +%s)
    if [ -n "$reason" ]; then
        echo "no GPU" >said
        status=77
    elif [ "$(left)" -lt 5 ]; then
        echo "no time was left" >said
        status=77
    else
        "$@" >said 2>&1
        status=$?
    fi
    [ $status != 124 ] || echo "not done when the time was over" >>said
    detail=$(tail -n 1 said | tr -d '\\\t' | tr '"' "'" | cut -c 1-160)
    case $status in
    0) result=ok passed=$((passed + 1)) ;;
    77) result=skipped skipped=$((skipped + 1)) ;;
    *)
        result=FAILED failed=$((failed + 1))
        echo "---- $name"
        tail -n 40 said
        ;;
    esac
    seconds=$(($(date +%s) - start))
    printf '%-8s %-34s %4s s  %s\n' $result "$name" $seconds "$detail" >>table
    [ -n "$reason" ] || tail -n 1 table
    [ ! -s entries ] || echo "," >>entries
    printf '  {"check": "%s", "result": "%s", "seconds": %s, "detail": "%s"}' \
        "$name" $result $seconds "$detail" >>entries
}

# train RANKS JOB ARGUMENTS...: what it prints is left in out.
train() {
    ranks=$1 job=$2
    shift 2
    if [ "$ranks" = 1 ]; then
        limited "$programs/dltrain" "$job" "$@" >out 2>&1
    else
        limited "$mpirun" --oversubscribe -np "$ranks" "$programs/dltrain" "$job" "$@" >out 2>&1
    fi
    status=$?
    [ $status = 0 ] || tail -n 12 out
    return $status
}
status_of() { # RUN KEY
    sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\)\"\{0,1\}.*/\1/p" "runs/$1/status.json" 2>/dev/null | head -n 1
}
# Exit 69 says that the precision is not to be had here.
on_gpu() { # RANKS NAME ARGUMENTS...
    on=$1 run=$2
    shift 2
    train "$on" "$here/digits.yaml" --fresh --set device=cuda --set "name=$run" "$@"
    status=$?
    if [ $status = 69 ]; then
        grep -m 1 precision out
        return 77
    fi
    return $status
}
near() { # GOT WANTED TOLERANCE: relative
    awk -v g="$1" -v w="$2" -v t="$3" 'BEGIN {d = g - w; if (d < 0) d = -d; if (w < 0) w = -w
        exit !(g + 0 == g && g != "" && w != "" && d <= t * w)}'
}

unit() { # SUITE
    [ -x "$programs/dltests" ] || { echo "dltests is not here"; return 77; }
    DLTRAIN_CUDA_LIBRARY=$library limited "$programs/dltests" "$1" >unit.out 2>&1
    status=$?
    cat unit.out
    set -- $(awk '$1 == "tests" {print $4, $5} $1 == "asserts" {print $4}' unit.out)
    grep -q '^skipped' unit.out && { grep -m 1 '^skipped' unit.out; return 77; }
    [ $# = 3 ] && [ "$1" -gt 0 ] || { echo "exit $status, no tests"; return 1; }
    echo "$1 tests, $3 assertions"
    return $status
}

reference() {
    train 1 "$here/digits.yaml" --fresh --set device=cpu --set name=cpu || return
    want=$(status_of cpu test_loss)
    [ -n "$want" ] || { echo "the CPU's run tells no test_loss"; return 1; }
    echo "test loss $want"
}

# The same training as on the CPU: gradients, update and statistics of every family.
trajectory() { # NAME TOLERANCE ARGUMENTS...
    name_of=$1 within=$2
    shift 2
    on_gpu 1 "gpu-$name_of" "$@" || return
    got=$(status_of "gpu-$name_of" test_loss)
    echo "test loss $got, the CPU's $want, within $within"
    near "$got" "$want" "$within"
}

twice() { # PRECISION
    first=$(status_of "gpu-$1" weights)
    [ -n "$first" ] || { echo "there was no first run"; return 77; }
    on_gpu 1 again --set "precision=$1" || return
    second=$(status_of again weights)
    echo "$first, $second"
    [ "$first" = "$second" ]
}

shared_card() { # PRECISION
    all=
    for count in 1 2 4; do
        on_gpu $count "ranks-$count" --set "precision=$1" --set reproducible=any_ranks || return
        all="$all $(status_of "ranks-$count" weights)"
    done
    echo $all
    set -- $all
    [ $# = 3 ] && [ "$1" = "$2" ] && [ "$1" = "$3" ]
}

# Begun on one, then without what came after its first epoch, on the other.
resume() { # FIRST SECOND
    train 1 "$here/digits.yaml" --fresh --set "device=$1" --set name=moved || return
    rm -rf "runs/moved/checkpoints/$(ls runs/moved/checkpoints | grep '^step-' | sort | tail -n 1)" \
        runs/moved/status.json runs/moved/model.h5
    train 1 "$here/digits.yaml" --set "device=$2" --set name=moved || return
    got=$(status_of moved test_loss)
    echo "$(grep -m 1 -iE 'resum|continu' out) test loss $got, the CPU's $want, within 0.001"
    grep -q 'Epoch 2/2' out && ! grep -q 'Epoch 1/2' out && near "$got" "$want" 0.001
}

accuracy() { # JOB FOLDER LEAST ARGUMENTS...
    job=$1 folder=$2 least=$3
    shift 3
    [ -e "${DLTRAIN_DATA:-/nowhere}/$folder" ] || { echo "no data: DLTRAIN_DATA/$folder"; return 77; }
    train 1 "$root/jobs/$job.yaml" --fresh --set device=cuda --set "name=$job" "$@"
    status=$?
    [ $status != 69 ] || { grep -m 1 precision out; return 77; }
    [ $status = 0 ] || return $status
    got=$(status_of "$job" test_accuracy)
    echo "test accuracy $got, at least $least"
    awk -v g="$got" -v l="$least" 'BEGIN {exit !(g + 0 == g && g >= l)}'
}

sanitize() { # TOOL
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    [ -n "$tool" ] || { echo "no compute-sanitizer"; return 77; }
    limited "$tool" --tool "$1" --error-exitcode 99 --target-processes all "$programs/dltrain" "$here/digits.yaml" \
        --fresh --set device=cuda --set name=checked --set data.test=none \
        --set 'data.train={synthetic: {kind: digits, samples: 200}}' --set epochs=1 >checked 2>&1
    status=$?
    cat checked
    summary=$(grep 'ERROR SUMMARY\|RACECHECK SUMMARY' checked | tail -n 1 | sed 's/=* *//')
    if [ $status != 99 ] && { [ -z "$summary" ] || grep -qiE 'not supported|insufficient permission' checked; }; then
        echo "does not work here: $(grep -m 1 -iE 'error|support|permission' checked)"
        return 77
    fi
    echo "$summary"
    return $status
}

reason=
card=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
if ! train 1 "$here/digits.yaml" --fresh --set device=cuda --set name=probe --set epochs=1 >probe; then
    reason=$(sed -n 's/^dltrain: //p' out | head -n 1)
    [ "$status" = 69 ] || reason=
fi

check "rows against the CPU" unit cuda_rows
check "programs, recorded and not" unit cuda_programs
check "digits on the CPU" reference
for precision in fp32 bf16 fp16; do
    case $precision in fp32) within=0.001 ;; *) within=0.05 ;; esac
    check "digits, $precision" trajectory $precision $within --set precision=$precision
    check "twice, the same bits, $precision" twice $precision
    check "1, 2, 4 ranks of one card, $precision" shared_card $precision
done
check "digits, tf32" trajectory tf32 0.01 --set tf32=true
check "from a CPU's checkpoint" resume cpu cuda
check "to a CPU from a GPU's" resume cuda cpu
check "memcheck" sanitize memcheck
check "racecheck" sanitize racecheck
for precision in fp32 bf16 fp16; do
    check "mnist-mlp, $precision" accuracy mnist-mlp mnist 0.975 --set precision=$precision
    check "mnist-convnet, $precision" accuracy mnist-convnet mnist 0.986 --set precision=$precision
done
check "cifar10-cnn, 50 epochs, bf16" accuracy cifar10-cnn cifar10/test_batch.bin 0.75 --set precision=bf16 --set epochs=50

echo
cat table
[ -z "$reason" ] || echo "$reason"
echo "$passed passed, $failed failed, $skipped skipped in $(($(date +%s) - began)) s on ${card:-no card that nvidia-smi tells of}"
{
    printf '{"date": "%s", "card": "%s", "version": "%s",\n "passed": %s, "failed": %s, "skipped": %s, "reason": "%s", "checks": [\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$card" "$("$programs/dltrain" --version | head -n 1)" $passed $failed $skipped \
        "$(echo "$reason" | tr -d '\\\t' | tr '"' "'")"
    cat entries
    printf '\n]}\n'
} >"$json" || { echo "cannot write $json"; exit 73; }
[ $failed = 0 ]
