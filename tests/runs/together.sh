#!/bin/sh
# How steps reach a device changes no bit, on a host that plays a GPU (tests/shim): together in launches that no epoch
# divides, from samples that lie there or are streamed, on one rank and two, whatever stops between them: checkpoints,
# a plateau, early stopping, a signal in the evaluation; and a run goes on from a checkpoint in the middle of a launch.
. "$(dirname "$0")/lib.sh"
mkdir -p together && cd together || exit 1
library=${BUILD:-$root/build}/libdl_cuda_shim.so
if [ ! -r "$library" ]; then
    skip "steps together" "libdl_cuda_shim.so is not built"
    exit 0
fi
export DLTRAIN_THREADS=1 DLTRAIN_CUDA_LIBRARY=$library DLTRAIN_CACHE= SHIM_GPUS=2

# 12 steps an epoch, the last of 5 samples; validation in one batch and a smaller one.
cat >job.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 480}}
  validation: {last: 299}
  prepare: [{reshape: [784]}, {scale: 1/255}]
model:
  - dense: {units: 16, activation: relu}
  - dropout: 0.25
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: {adam: {learning_rate: 0.02}}
metrics: [accuracy]
callbacks:
  - early_stopping: {monitor: val_loss, patience: 3, restore_best_weights: true}
  - reduce_lr_on_plateau: {monitor: val_loss, patience: 1, factor: 0.5}
batch_size: 16
epochs: 30
device: cuda
Y

run() {
    ranks=$1 name=$2
    shift 2
    train "$ranks" job.yaml --set name="$name" "$@" || { cat "$WORK/out"; bad "$name" "exit $?"; }
}

same() {
    cmp -s "runs/$2/model.h5" "runs/$3/model.h5" && cmp -s "runs/$2/log.csv" "runs/$3/log.csv" && ok "$1" ||
        bad "$1" "other bits: $(tail -n 1 "runs/$2/log.csv" 2>/dev/null)"
}

for ranks in 1 2; do
    one=one-$ranks
    run $ranks $one --set steps_per_execution=1 --set data.on_device=never
    epochs=$(($(wc -l <runs/$one/log.csv) - 1))
    [ "$epochs" -gt 4 ] && [ "$epochs" -lt 30 ] && ok "stopped early on $ranks: $epochs epochs" ||
        bad "stopped early on $ranks" "$epochs epochs"
    for setting in "5 auto" "16 never" "16 auto"; do
        set -- $setting
        run $ranks "at-$1-$2-$ranks" --set steps_per_execution="$1" --set data.on_device="$2"
        same "$1 steps a launch, on_device $2, on $ranks" "at-$1-$2-$ranks" $one
    done
    run $ranks saved-$ranks --set steps_per_execution=5 --set checkpoint.every="[7 steps, 0.05 s]" --set checkpoint.keep=400
    same "saved every 7 steps and by the clock on $ranks" saved-$ranks $one

    # Step 21 is the ninth of an epoch, and lies within a launch of 5.
    cp -r runs/saved-$ranks runs/resumed-$ranks
    sed -i "s/^name: saved-$ranks/name: resumed-$ranks/" runs/resumed-$ranks/job.yaml
    for folder in runs/resumed-$ranks/checkpoints/step-*; do
        expr "${folder##*step-}" "<=" 00000021 >/dev/null || rm -rf "$folder"
    done
    rm -f runs/resumed-$ranks/model.h5
    run $ranks resumed-$ranks --set steps_per_execution=5 --set checkpoint.every="1 epoch" --set checkpoint.keep=400
    grep -q 'step 21' "$WORK/out" || bad "resumed on $ranks" "not at step 21: $(head -n 3 "$WORK/out")"
    same "resumed at step 21 on $ranks" resumed-$ranks $one
done

# The last batch has one sample, so two ranks of three have none; with a GPU each, and all on one.
sed 's/samples: 480/samples: 476/; s/^epochs: 30/epochs: 3/' job.yaml >few.yaml
for gpus in 3 1; do
    what="ranks without samples, on $gpus GPUs"
    for name in few-1 few-5; do
        streamed=never
        [ $name = few-1 ] || streamed=auto
        SHIM_GPUS=$gpus train 3 few.yaml --set name=$name-$gpus --set steps_per_execution=${name#few-} \
            --set data.on_device=$streamed --set data.shuffle=with_replacement --set accumulate=2 ||
            { cat "$WORK/out"; bad "$what" "exit $?"; }
    done
    same "$what" few-5-$gpus few-1-$gpus
done

# A signal in the evaluation of a long validation, with runs of it under way: the weights of the epoch are saved, and the
# run goes on with its validation.
sed 's/samples: 480/samples: 16064/; s/last: 299/last: 16000/; s/units: 16/units: 64/; s/^epochs: 30/epochs: 3/; /^callbacks:/,/plateau/d' \
    job.yaml >long.yaml
timeout 120 "$DLTRAIN" long.yaml --set name=whole --set steps_per_execution=5 >"$WORK/out" 2>&1 ||
    { cat "$WORK/out"; bad "a long validation" "exit $?"; }
"$DLTRAIN" long.yaml --set name=stopped --set steps_per_execution=5 >stopped.out 2>&1 &
run=$!
for wait in $(seq 100); do
    grep -q '^Epoch 1/' stopped.out && break
    sleep 0.1
done
sleep 0.3
kill -TERM $run
wait $run
status=$?
what="stopped in an evaluation, a run goes on to the same bits"
timeout 120 "$DLTRAIN" long.yaml --set name=stopped --set steps_per_execution=5 >"$WORK/out" 2>&1
if [ $status -eq 75 ] && grep -q 'after step 8,' stopped.out && cmp -s runs/stopped/model.h5 runs/whole/model.h5 &&
    cmp -s runs/stopped/log.csv runs/whole/log.csv; then
    ok "$what"
else
    bad "$what" "exit $status: $(tail -n 1 stopped.out); $(tail -n 1 "$WORK/out")"
fi
