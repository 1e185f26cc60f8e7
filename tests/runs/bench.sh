#!/bin/sh
# dltrain bench: what it prints, writes and refuses. tests/ranks/ranks_bench.c reads what it wrote.
. "$(dirname "$0")/lib.sh"
checker=$BUILD/ranks_bench

cat >mlp.yaml <<'Y'
data:
  train: {synthetic: {kind: vectors, samples: 480, fields: {x: {shape: [200]}, y: {classes: 10}}}}
  prepare: [{one_hot, field: y}]
model:
  - dense: {units: 300, activation: relu}
  - dense: {units: 10, activation: softmax}
loss: categorical_crossentropy
optimizer: rmsprop
metrics: [accuracy]
batch_size: 96
epochs: 1
Y
# Forward and weight gradient of both layers, input gradient of the second, 2 x 96 x (...) each.
flop=$((2 * 96 * (2 * 200 * 300 + 3 * 300 * 10)))

# bench NAME RANKS STEPS REPEAT ARGUMENTS...
bench() {
    name=$1 ranks=$2 steps=$3 repeat=$4
    shift 4
    if train "$ranks" bench mlp.yaml --warmup 7 --steps "$steps" --repeat "$repeat" \
        --json out.json --trace out.trace "$@"; then
        "$checker" out.json out.trace "$ranks" "$steps" "$repeat" "$flop" >checked 2>&1 && ok "$name" ||
            { cat checked; bad "$name" "see above"; }
    else
        head -n 5 "$WORK/out"
        bad "$name" "exit $?"
    fi
    rm -f out.json out.trace
}

prints() { grep -qE -e "$2" "$WORK/out" && ok "$1" || bad "$1" "no line with '$2'"; }

bench "bench on 1 rank" 1 30 3
prints "bench prints samples/s" '^ +samples/s +[0-9]+ +median; [0-9]+ to [0-9]+'
prints "bench prints the parts" '^ +waiting +[0-9.]+ +[0-9.]+ % +for the last rank'
prints "bench prints rows and layers" '^dense_1 +'
bench "bench on 2 ranks" 2 30 3
bench "bench on 2 ranks over MPI" 2 5 2 --set comm.backend=mpi
bench "bench on 3 ranks" 3 5 1
bench "bench with overlap" 2 25 2 --set comm.overlap=always
prints "bench prints the sums beside compute" 'what compute did not hide'
bench "bench with shards side by side" 1 25 2 --set reproducible=any_ranks --set shards=4
bench "bench with shards on 2 ranks" 2 5 1 --set reproducible=any_ranks --set shards=5
bench "bench with micro-batches" 2 5 1 --set accumulate=3
# By the clock of a device; sums beside its compute are what that waits for.
if [ -r "$BUILD/libdl_cuda_shim.so" ]; then
    export DLTRAIN_CUDA_LIBRARY=$BUILD/libdl_cuda_shim.so
    bench "bench on a device" 1 3 2 --set device=cuda --set data.on_device=never
    prints "bench prints the device's clock" 'by the device.s clock'
    bench "bench on 2 devices" 2 2 1 --set device=cuda --set data.on_device=never
    prints "bench prints what compute did not hide on devices" 'what compute did not hide'
    SHIM_GPUS=1 bench "bench on a device for 2 ranks" 2 2 1 --set device=cuda --set data.on_device=never
    unset DLTRAIN_CUDA_LIBRARY
else
    skip "bench on a device" "libdl_cuda_shim.so is not built"
fi
train 1 bench mlp.yaml --warmup 2 --steps 3 --repeat 2 --rate --json out.json && ! grep -q 'By row' "$WORK/out" &&
    grep -q '"samples_per_second"' out.json && ! grep -q '"rows"' out.json && ok "bench of the rate alone" ||
    bad "bench of the rate alone" "$(tail -n 1 "$WORK/out")"
rm -f out.json
[ ! -e runs ] && ok "bench leaves no run" || bad "bench leaves no run" "runs is there"

# Files that are not there: refused, or replaced by made-up samples when asked for.
cat >absent.yaml <<'Y'
data:
  root: nowhere
  train: {idx: {x: train-images, y: train-labels}}
  test: {idx: {x: test-images, y: test-labels}}
  prepare: [{reshape: [200]}, {scale: 1/255}, {one_hot, field: y}]
Y
sed 1,3d mlp.yaml >>absent.yaml
# refuses NAME CODE PATTERN ARGUMENTS...
refuses() {
    name=$1 want=$2 pattern=$3
    shift 3
    train 1 bench "$@"
    code=$?
    if [ "$code" != "$want" ]; then
        bad "$name" "exit $code, want $want"
    else
        grep -qE -e "$pattern" "$WORK/out" && ok "$name" || bad "$name" "no line with '$pattern'"
    fi
}
mv mlp.yaml whole.yaml
cp absent.yaml mlp.yaml
bench "bench of made-up samples" 2 5 1 --synthetic '{x: {shape: [10, 20]}, y: {classes: 10}}'
refuses "bench without its data" 66 'nowhere/train-images' absent.yaml
refuses "bench of fields that make no sense" 2 'size is a whole number' absent.yaml \
    --synthetic '{x: {shape: [ten]}, y: {classes: 10}}'
refuses "bench of fields that the model cannot take" 2 'cannot become .200,' absent.yaml \
    --synthetic '{x: {shape: [10]}, y: {classes: 10}}'
refuses "bench without a job" 2 'takes JOB'
refuses "bench for no steps" 2 'a number of steps, not .0.' whole.yaml --steps 0
refuses "bench for steps that are no number" 2 'a number of steps, not .many.' whole.yaml --warmup many
refuses "bench without repetitions" 2 'a number of repetitions' whole.yaml --repeat -1
refuses "bench into no file" 2 'json needs a file' whole.yaml --json=
refuses "bench of the rate alone with a trace" 2 'leave one of them out' whole.yaml --rate --trace out.json
refuses "bench option misspelt" 2 'did you mean .--repeat' whole.yaml --repeats 3
refuses "bench of a job that cannot train" 2 "lacks 'loss'" whole.yaml --set loss=none --set metrics='[]' --steps 1
refuses "bench figures nowhere" 73 'no/such/folder' whole.yaml --steps 1 --warmup 1 --repeat 1 \
    --json no/such/folder/out.json
refuses "bench trace nowhere" 73 'no/such/folder' whole.yaml --steps 1 --warmup 1 --repeat 1 \
    --trace no/such/folder/out.json
