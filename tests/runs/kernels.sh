#!/bin/sh
# Kernel choices of whole runs, on a host that plays a GPU (tests/shim), whose heuristics do not propose the fastest
# first: chosen, timed by rank 0 for all ranks, kept in the run and its checkpoints, and taken from there.
. "$(dirname "$0")/lib.sh"
mkdir -p kernels && cd kernels || exit 1
library=${BUILD:-$root/build}/libdl_cuda_shim.so
if [ ! -r "$library" ]; then
    skip "kernel choices" "libdl_cuda_shim.so is not built"
    exit 0
fi
export DLTRAIN_THREADS=1 DLTRAIN_CUDA_LIBRARY=$library

cat >job.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 126}}
  test: {first: 20}
  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]
model:
  - conv2d: {filters: 4, kernel_size: 3, strides: 2, activation: relu}
  - conv2d: {filters: 8, kernel_size: 3, strides: 2, activation: relu}
  - flatten
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: adam
metrics: [accuracy]
batch_size: 21
epochs: 2
device: cuda
checkpoint: {every: 1 epochs, keep: 10}
Y

# run RANKS CACHE NAME ARGUMENTS...: with choices on disk in the folder CACHE.
run() {
    ranks=$1 cache=$2 name=$3
    shift 3
    DLTRAIN_CACHE=$PWD/$cache train "$ranks" job.yaml --set name="$name" "$@"
}

# chosen NAME: how many kernels its run has chosen, and how many of them were timed.
chosen() {
    awk -F'\t' '/^end/ { exit } NF == 4 { all++; if ($3 + 0 > 0) timed++ } END { print all + 0, timed + 0 }' \
        "runs/$1/kernels.txt"
}

run 1 cache heuristic || { cat "$WORK/out"; bad "a run by heuristics" "exit $?"; exit 0; }
what="by heuristics no kernel is timed"
set -- $(chosen heuristic)
[ "$1" -ge 8 ] && [ "$2" -eq 0 ] && ok "$what: $1 chosen" || bad "$what" "$1 chosen, $2 timed"

what="timed, another engine is faster than the heuristics' first"
run 1 cache timed --set kernels=timed || { cat "$WORK/out"; bad "$what" "exit $?"; exit 0; }
set -- $(chosen timed)
first=$(cut -f 2 runs/heuristic/kernels.txt | grep -c 'way 0 eng2$')
fastest=$(cut -f 2 runs/timed/kernels.txt | grep -c 'way . eng5_k2=7$')
if [ "$1" -ge 8 ] && [ "$1" -eq "$2" ] && [ "$first" -gt 0 ] && [ "$fastest" -ge "$first" ]; then
    ok "$what: $fastest of $2"
else
    bad "$what" "$1 chosen, $2 timed, $fastest are the fastest of cuDNN"
fi

# The shim's one kernel for a convolution and the normalisations beside it takes longer than its convolution, but for
# gradients of weights.
what="one kernel for a convolution and a normalisation is used where it is faster than two"
sed '/^model:/,/^loss:/d' job.yaml >beside.yaml
cat >>beside.yaml <<'Y'
loss: sparse_categorical_crossentropy
precision: fp16
kernels: timed
model:
  - {conv2d: {filters: 8, kernel_size: 3, strides: 2, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - {conv2d: {filters: 8, kernel_size: 3, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - {conv2d: {filters: 8, kernel_size: 3, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - flatten
  - dense: {units: 10, activation: softmax}
Y
for name in beside beside-again; do
    DLTRAIN_CACHE=$PWD/cache-$name train 1 beside.yaml --set name=$name ||
        { cat "$WORK/out"; bad "$what" "exit $?"; exit 0; }
done
cut -f 2,4 runs/beside/kernels.txt | awk -F'\t' '$2 ~ /^used /' >used
without=$(grep -c '^without' used) weights=$(grep -c '^with	.*;conv 2 of' used)
if [ "$without" -gt 0 ] && [ "$weights" -gt 0 ] && [ $((without + weights)) -eq "$(wc -l <used)" ] &&
    ! grep -q '^without.*;conv 2 of' used &&
    cmp -s runs/beside/model.h5 runs/beside-again/model.h5; then
    ok "$what: $weights are, $without are not"
else
    bad "$what" "$(cut -f 1 used | sort | uniq -c | tr '\n' ' '), or other bits"
fi

# Rank 0 has 10 samples, rank 1 has 11: shapes that rank 0 has not.
what="rank 0 times for both ranks, twice the same"
for name in two again; do
    run 2 "cache-$name" $name --set kernels=timed || { cat "$WORK/out"; bad "$what" "exit $?"; exit 0; }
done
set -- $(chosen two)
if cmp -s runs/two/kernels.txt runs/again/kernels.txt && cmp -s runs/two/model.h5 runs/again/model.h5 &&
    [ "$1" -eq "$2" ] && grep -q 'tensor 0 11,' runs/two/kernels.txt; then
    ok "$what: $1 kernels"
else
    bad "$what" "$1 chosen, $2 timed, or files differ"
fi

# With an empty cache, what is not taken from the run would be chosen and kept anew.
# resume WHAT NAME: the run goes on after its first epoch to the bits of the whole one.
resume() {
    rm -rf "runs/$2/model.h5" "runs/$2/checkpoints/step-00000012" "none-$2"
    mkdir "none-$2"
    run 2 "none-$2" "$2" --set kernels=timed || { cat "$WORK/out"; bad "$1" "exit $?"; return; }
    made=$(ls "none-$2" | wc -l)
    if cmp -s "runs/$2/model.h5" runs/two/model.h5 && cmp -s "runs/$2/kernels.txt" runs/two/kernels.txt &&
        [ "$made" -eq 0 ]; then
        ok "$1"
    else
        bad "$1" "other bits, or $made kernels chosen"
    fi
}
copy() {
    rm -rf "runs/$1"
    cp -r runs/two "runs/$1"
    sed -i "s/^name: two/name: $1/" "runs/$1/job.yaml"
}
ls runs/two/checkpoints >listed
[ "$(wc -l <listed)" -eq 2 ] || bad "checkpoints of a run with choices" "$(cat listed)"
copy resumed
resume "a resumed run takes its choices from the folder" resumed
copy carried
rm runs/carried/kernels.txt
resume "a checkpoint carries them" carried

what="a cut file of choices is refused before a step"
copy cut
head -c 500 runs/two/kernels.txt >runs/cut/kernels.txt
rm -rf runs/cut/checkpoints/step-00000012
run 2 cache-two cut --set kernels=timed
status=$?
if [ $status -eq 66 ] && grep -q 'kernels.txt is damaged' "$WORK/out" && grep -q 'remove it' "$WORK/out"; then
    ok "$what"
else
    bad "$what" "exit $status: $(tail -n 1 "$WORK/out")"
fi

what="eval takes the choices of the run"
mkdir none-eval
DLTRAIN_CACHE=$PWD/none-eval timeout 120 "$DLTRAIN" eval runs/timed >out 2>&1 && [ "$(ls none-eval | wc -l)" -eq 0 ] &&
    ok "$what" || bad "$what" "$(tail -n 1 out), $(ls none-eval | wc -l) chosen anew"

# A rank that dies while rank 0 times kernels, which others await for up to an hour, ends the job within seconds.
awk '/^  - flatten/ { for (i = 9; i < 60; i++) print "  - conv2d: {filters: " i ", kernel_size: 3, padding: same}" }
    { print }' job.yaml >long.yaml
for rank in 0 1; do
    what="rank $rank killed while kernels are timed"
    rm -rf killed
    DLTRAIN_CACHE=$PWD/killed timeout --foreground 120 mpirun -np 2 "$DLTRAIN" long.yaml --set name=killed \
        --set kernels=timed --fresh >out 2>&1 &
    pid=$!
    for wait in $(seq 400); do
        [ "$(ls killed 2>/dev/null | wc -l)" -gt 2 ] && break
        sleep 0.05
    done
    launcher=$(cat /proc/$pid/task/*/children)
    victim=
    for child in $(cat /proc/${launcher%% *}/task/*/children); do
        tr '\0' '\n' <"/proc/$child/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$rank" && victim=$child
    done
    made=$(ls killed | wc -l) begun=$(date +%s)
    kill -9 "$victim" || bad "$what" "no such process"
    wait $pid
    code=$?
    took=$(($(date +%s) - begun))
    if [ $code -ne 0 ] && [ $took -le 15 ] && [ ! -e runs/killed/kernels.txt ] &&
        grep -q "rank $rank .*signal 9" out; then
        ok "$what: exit $code after $took s"
    else
        bad "$what" "exit $code after $took s, $made kernels chosen: $(tail -n 3 out)"
    fi
done
