#!/bin/sh
# What only a GPU can show, in one command of at most ten minutes: every row against the CPU in each precision, with
# fresh random inputs into poisoned memory; gradients; whole programs, recorded steps against eager ones; the same bits
# twice and on 1, 2 and 4 ranks of one card; stops and starts between CPU and GPU; the jobs' figures; CUDA's own checkers.
# A short table last, JSON and a log of all that was said beside it. Where there is no GPU all of it is skipped, with the
# reason; where nvidia-smi tells of one that dltrain does not take, that is a failure.
#   tests/gpu/run.sh [JSON]        default gpu.json in the current folder; the log is JSON.log
#   tests/gpu/run.sh --go-on [JSON]    what that file has as passed, of the same build, is taken over; the rest is done
# BUILD=FOLDER                     what was built, default build; in a bundle (cluster/bundle.sh) nothing is needed
# DLTRAIN_GPU_SECONDS=N            for all of it, default 570
# DLTRAIN_DATA=FOLDER              mnist/, cifar10/ and tabular/, or those figures are skipped
# SEED=N                           of the random inputs, else the time; the table tells it
# ONLY=PATTERN                     checks whose name it matches (grep -E), and the CPU's run that others compare with
# DLTRAIN_GPU_PYTHON=PYTHON        a Python whose wheels hold CUDA's libraries, where no toolkit is
# DLTRAIN_CUDA_LIBRARY=FILE        another libdl_cuda.so; libdl_cuda_shim.so of the build tries this script out without a GPU
#
# CUDA's libraries of the major version that dltrain was built with must be there, of any minor one: libcublasLt.so.13 for
# a build with CUDA 13, whose driver is 580 or later. For a host with CUDA 12 build with the toolkit 12.8 or 12.9.
#
# The first meeting with a card, a command at a time:
#   nvidia-smi; bin/dltrain --version; ONLY=properties sh tests/gpu/run.sh one.json     is all found? See one.json.log.
#   sh tests/gpu/run.sh; then again with --go-on until nothing is left    the table, gpu.json, gpu.json.log
#     A row that breaks the card's context fails all after it: DLTRAIN_TEST_ROW=NAME bin/dltests cuda_rows does one alone,
#     DLTRAIN_TEST_ROW=-NAME all others, and compute-sanitizer before it says where.
#   bin/dltrain bench jobs/resnet50-imagenet.yaml --set device=cuda --set precision=fp16 --set batch_size=256 \
#     --set kernels=timed --repeat 3 --json b.json | head -n 60     what the time goes into; `of limit` is how near a row
#     is to what the card can; b.json has every node and the kernels that were chosen
#   sh tests/bench/gpu.sh --only fp16, small, bf16, small-fp16     a command each; its first lines say more
# "the card's properties" prints the line of ops/cudnn_card_cuda.c as it should be where the card is not as it is kept.
set -u
case ${1:-} in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
go_on=
[ "${1:-}" != --go-on ] || { go_on=yes; shift; }
case ${1:-} in -*) echo "run.sh: no option $1; --help" >&2; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
json=${1:-gpu.json}
case $json in /*) ;; *) json=$PWD/$json ;; esac
log=$json.log
[ -n "$go_on" ] && [ -e "$json" ] || : >"$log" || exit 73
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
version="$("$programs/dltrain" --version | head -n 1), $(cat "$root/COMMIT" 2>/dev/null ||
    git -C "$root" describe --always --dirty 2>/dev/null)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'tell; exit 130' INT TERM
cd "$work" || exit 73
exec </dev/null
began=$(date +%s)
last=$((began + ${DLTRAIN_GPU_SECONDS:-570}))
export DLTRAIN_TEST_SEED="${SEED:-$began}"
passed=0 failed=0 skipped=0
: >table
: >entries

left() { echo $((last - $(date +%s))); }

# Whatever a check runs ends when all must; what hangs, sooner.
most=300
limited() {
    seconds=$(left)
    [ "$seconds" -gt 1 ] || return 124
    [ "$seconds" -lt $most ] || seconds=$most
    timeout -k 10 "$seconds" "$@"
}

# What the last call has passed, of the same build: a line each.
: >before
[ -z "$go_on" ] || ! grep -qsF "\"version\": \"$version\"" "$json" || grep '"result": "ok"' "$json" >before

# note RESULT NAME SECONDS DETAIL: a row of the table and of the JSON, counted.
note() {
    case $1 in
    ok) passed=$((passed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    detail=$(echo "$4" | tr -d '\\\t' | tr '"' "'" | cut -c 1-160)
    printf '%-8s %-34s %4s s  %s\n' "$1" "$2" "$3" "$detail" >>table
    [ -n "$reason" ] || tail -n 1 table
    [ ! -s entries ] || echo "," >>entries
    printf '  {"check": "%s", "result": "%s", "seconds": %s, "detail": "%s"}' "$2" "$1" "$3" "$detail" >>entries
}

# check NAME FUNCTION ARGUMENTS...: status 0 is ok, 77 skipped; the last line that it prints says more. Of one that is
# ok, lines "skipped PART: why" are rows of their own.
check() {
    name=$1
    shift
    [ "$1" = refused ] || echo "$name" | grep -qE "${ONLY:-.}|on the CPU" || return 0
    start=$(date +%s)
    done_before=$(grep -F "\"check\": \"$name\"," before | head -n 1)
    if [ -n "$done_before" ] && [ "$1" != reference ]; then
        note ok "$name" 0 "before: $(echo "$done_before" | sed 's/.*"detail": "\(before: \)*\(.*\)".*/\2/')"
        return 0
    fi
    if [ -n "$reason" ] && [ "$1" != refused ]; then
        echo "no GPU" >said
        status=77
    elif [ "$(left)" -lt 5 ]; then
        echo "no time was left" >said
        status=77
    else
        "$@" >said 2>&1
        status=$?
    fi
    if [ $status = 124 ] && [ "$(left)" -le 1 ]; then
        echo "not done when the time was over" >>said
        status=77
    elif [ $status = 124 ]; then
        echo "not done in $most s" >>said
    fi
    { echo "==== $name: status $status"; cat said; } >>"$log"
    case $status in
    0) result=ok ;;
    77) result=skipped ;;
    *)
        result=FAILED
        echo "---- $name"
        tail -n 16 said | cut -c 1-200
        ;;
    esac
    note $result "$name" $(($(date +%s) - start)) "$(tail -n 1 said)"
    [ $status = 0 ] || return 0
    sed -n 's/^skipped //p' said >parts
    while IFS= read -r part; do
        note skipped "${part%%: *}" 0 "${part#*: }"
    done <parts
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
# How far off the CPU's a test loss may be after 16 steps, as a share of it. Sums in another order make 3e-7 of it on the
# host that plays a GPU (tests/shim); allowed is 0.001, for kernels that add in yet other orders. Rounded numbers make
# 0.013 there in tf32, 0.008 in bf16, 0.001 in fp16, and on the CPU 0.013 in bf16, as max pooling takes others of those
# that are nearly equal; allowed is some twice that, 0.03.
same=0.001 rounded=0.03
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
    [ $status != 124 ] || return 124
    [ $# = 3 ] && [ $(($1 + $2)) -gt 0 ] || { echo "exit $status, no tests"; return 1; }
    echo "$1 tests, $2 failed, $3 assertions"
    [ $status = 0 ] || return $status
    [ "$3" -gt 0 ] || { grep -m 1 '^skipped' unit.out || echo "nothing was asserted"; return 77; }
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
    if [ -z "$first" ]; then # this call has not made it
        on_gpu 1 "gpu-$1" --set "precision=$1" || return
        first=$(status_of "gpu-$1" weights)
    fi
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
    echo "$(grep -m 1 -iE 'resum|continu' out) test loss $got, the CPU's $want, within $same"
    grep -q 'Epoch 2/2' out && ! grep -q 'Epoch 1/2' out && near "$got" "$want" $same
}

# Kernels that were timed: what goes on after the first epoch, with nothing in the cache, has the bits of the whole run.
timed() { # PRECISION
    on_gpu 1 timed --set "precision=$1" --set kernels=timed || return
    whole=$(status_of timed weights)
    count=$(awk -F'\t' 'NF == 4 && $3 + 0 > 0' runs/timed/kernels.txt | wc -l)
    rm -rf "runs/timed/checkpoints/$(ls runs/timed/checkpoints | grep '^step-' | sort | tail -n 1)" \
        runs/timed/status.json runs/timed/model.h5 none
    DLTRAIN_CACHE=$PWD/none train 1 "$here/digits.yaml" --set device=cuda --set name=timed --set "precision=$1" \
        --set kernels=timed || return
    echo "$count kernels timed; $whole, resumed $(status_of timed weights)"
    [ "$count" -gt 0 ] && [ "$whole" = "$(status_of timed weights)" ]
}

# A card each: ranks sum through NCCL.
cards() {
    count=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ')
    [ "$count" -ge 2 ] || { echo "$count cards"; return 77; }
    on_gpu 2 nccl && first=$(status_of nccl weights) && on_gpu 2 nccl || return
    got=$(status_of nccl test_loss)
    echo "$first, $(status_of nccl weights); test loss $got, the CPU's $want, within $same"
    [ "$first" = "$(status_of nccl weights)" ] && near "$got" "$want" $same && ! grep -q 'share a GPU' out
}

# figure JOB DATA KEY LOW HIGH ARGUMENTS...: trains the job; DATA is the file of DLTRAIN_DATA that it needs, or -
figure() {
    figured=$1 data=$2 key=$3 low=$4 high=$5
    shift 5
    [ "$data" = - ] || [ -e "${DLTRAIN_DATA:-/nowhere}/$data" ] || { echo "no data: DLTRAIN_DATA/$data"; return 77; }
    train 1 "$root/jobs/$figured.yaml" --fresh --set device=cuda --set "name=$figured" "$@"
    status=$?
    [ $status != 69 ] || { grep -m 1 precision out; return 77; }
    [ $status = 0 ] || return $status
    got=$(status_of "$figured" "$key")
    echo "$key $got, wanted $low to $high"
    awk -v g="$got" -v l="$low" -v h="$high" 'BEGIN {exit !(g + 0 == g && g >= l && g <= h)}'
}

sanitize() { # TOOL SECONDS COMMAND...
    tool=$1 seconds=$2
    shift 2
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    [ -n "$sanitizer" ] || { echo "no compute-sanitizer"; return 77; }
    [ "$seconds" -lt "$(left)" ] || seconds=$(left)
    options="--tool $tool --error-exitcode 99 --target-processes all"
    [ "$tool" != memcheck ] || options="$options --report-api-errors no" # libraries try calls that may fail
    DLTRAIN_CUDA_LIBRARY=$library timeout -k 10 "$seconds" "$sanitizer" $options "$@" >checked 2>&1
    status=$?
    cat checked
    summary=$(grep 'ERROR SUMMARY\|RACECHECK SUMMARY' checked | tail -n 1 | sed 's/=* *//')
    [ $status != 124 ] || { echo "not done in $seconds s"; return 77; }
    if [ $status != 99 ] && { [ -z "$summary" ] || grep -qiE 'not supported|insufficient permission' checked; }; then
        echo "does not work here: $(grep -m 1 -iE 'error|support|permission' checked)"
        return 77
    fi
    echo "$summary"
    return $status
}
sanitized_digits() { # TOOL
    sanitize "$1" 90 "$programs/dltrain" "$here/digits.yaml" --fresh --set device=cuda --set name=checked \
        --set data.test=none --set 'data.train={synthetic: {kind: digits, samples: 200}}' --set epochs=1
}
sanitized_rows() { # TOOL
    [ -x "$programs/dltests" ] || { echo "dltests is not here"; return 77; }
    sanitize "$1" 150 "$programs/dltests" cuda_rows
}

refused() {
    echo "$card is here, and dltrain does not take it: $reason"
    return 1
}

# The table and the JSON, of what was checked until now.
tell() {
    echo
    cat table
    [ -z "$reason" ] || echo "$reason"
    echo "$passed passed, $failed failed, $skipped skipped in $(($(date +%s) - began)) s on" \
        "${card:-no card that nvidia-smi tells of}, seed $DLTRAIN_TEST_SEED"
    {
        printf '{"date": "%s", "card": "%s", "version": "%s", "seed": "%s",\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
            "$card" "$version" "$DLTRAIN_TEST_SEED"
        printf ' "passed": %s, "failed": %s, "skipped": %s, "reason": "%s", "checks": [\n' $passed $failed $skipped \
            "$(echo "$reason" | tr -d '\\\t' | tr '"' "'")"
        cat entries
        printf '\n]}\n'
    } >"$json" || { echo "cannot write $json"; exit 73; }
}

reason=
card=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
if ! train 1 "$here/digits.yaml" --fresh --set device=cuda --set name=probe --set epochs=1 >probe; then
    cat out >>"$log"
    [ "$status" != 69 ] || reason=$(sed -n 's/^dltrain: //p' out | head -n 1)
fi
if [ -n "$reason" ] && [ -n "$card" ]; then
    check "dltrain takes the card" refused
fi

check "the card's properties" unit cuda_card
check "rows against the CPU" unit cuda_rows
check "gradients of rows" unit cuda_gradients
check "programs, recorded and eager" unit cuda_programs
check "several steps in a launch" unit together
check "samples on the device" unit device_data
check "sums on the device" unit cuda_sums
check "digits on the CPU" reference
for precision in fp32 bf16 fp16; do
    case $precision in fp32) within=$same ;; *) within=$rounded ;; esac
    check "digits, $precision" trajectory $precision $within --set precision=$precision
    check "twice, the same bits, $precision" twice $precision
    check "1, 2, 4 ranks of one card, $precision" shared_card $precision
    check "kernels timed, and resumed, $precision" timed $precision
done
check "digits, tf32" trajectory tf32 $rounded --set tf32=true
check "2 ranks, a card each" cards
check "from a CPU's checkpoint" resume cpu cuda
check "to a CPU from a GPU's" resume cuda cpu
for precision in fp32 bf16 fp16; do
    check "mnist-mlp, $precision" figure mnist-mlp mnist test_accuracy 0.975 1 --set precision=$precision
    check "mnist-convnet, $precision" figure mnist-convnet mnist test_accuracy 0.986 1 --set precision=$precision
done
check "quickstart" figure quickstart - test_accuracy 0.95 1
check "alien-perceptrons" figure alien-perceptrons - test_accuracy 1 1
check "iris2" figure iris2 tabular/iris.csv test_accuracy 0.9 1
check "circle, 10 seeds" figure circle tabular/one_circle.csv train_accuracy 0.900 0.935 --set repeat=10
check "hyderabad" figure hyderabad tabular/Hyderabad.csv train_root_mean_squared_error 4000000 5300000
check "cifar10-cnn, 50 epochs, bf16" figure cifar10-cnn cifar10/test_batch.bin test_accuracy 0.75 1 \
    --set precision=bf16 --set epochs=50
check "memcheck, a job" sanitized_digits memcheck
check "racecheck, a job" sanitized_digits racecheck
check "memcheck, rows" sanitized_rows memcheck
check "racecheck, rows" sanitized_rows racecheck

tell
[ $failed = 0 ]
