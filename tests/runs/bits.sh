#!/bin/sh
# any_ranks: weights, model file and log have the same bits on 1, 2, 3 and 4 ranks, with 1 and 2 threads each;
# `run`: the same bits when the same thing is run twice, and after going on; threads side by side are ranks of a thread.
. "$(dirname "$0")/lib.sh"

cat >bits.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 1001}}
  test: {first: 101}
  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]
model:
  - conv2d: {filters: 4, kernel_size: 3, activation: relu}
  - batch_normalization
  - max_pooling2d: 2
  - flatten
  - dropout: 0.25
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: adam
metrics: [accuracy]
batch_size: 100
epochs: 2
shards: 8
Y

digest() { # NAME: of the weights, from the run's status
    status_of "runs/$1" weights
}

want=
for threads in 1 2; do
    for ranks in 1 2 3 4; do
        name=any-$ranks-$threads
        DLTRAIN_THREADS=$threads train $ranks bits.yaml --fresh --set name=$name \
            --set reproducible=any_ranks || { cat out; bad "any_ranks $ranks x $threads" "exit $?"; continue; }
        got=$(digest $name)
        : "${want:=$got}"
        if [ -n "$got" ] && [ "$got" = "$want" ] && cmp runs/any-1-1/model.h5 runs/$name/model.h5 &&
            cmp runs/any-1-1/log.csv runs/$name/log.csv; then
            ok "any_ranks on $ranks ranks x $threads threads: $got"
        else
            bad "any_ranks on $ranks ranks x $threads threads" "'$got' is not '$want'"
        fi
    done
done

for backend in shm mpi; do
    name=overlap-$backend
    train 3 bits.yaml --fresh --set name=$name --set reproducible=any_ranks --set comm.overlap=always \
        --set comm.backend=$backend --set "comm.first_bucket=1 KiB" --set "comm.bucket=8KiB" ||
        { cat out; bad "overlap over $backend" "exit $?"; continue; }
    [ "$(digest $name)" = "$want" ] && ok "the same bits with sums beside the backward pass, $backend" ||
        bad "sums beside the backward pass, $backend" "'$(digest $name)' is not '$want'"
    train 3 bits.yaml --fresh --set name=broken --set comm.overlap=always --set comm.backend=$backend \
        --set optimizer.adam.learning_rate=1e30
    code=$?
    [ $code = 1 ] && grep -q "loss" out && ok "a loss that is no number ends it there, too, $backend" ||
        { tail -n 5 out; bad "a loss that is no number, overlap over $backend" "exit $code"; }
done

for ranks in 1 2 3; do
    train $ranks bits.yaml --fresh --set name=first || { cat out; bad "run $ranks" "exit"; }
    train $ranks bits.yaml --fresh --set name=second || { cat out; bad "run $ranks" "exit"; }
    if [ -n "$(digest first)" ] && [ "$(digest first)" = "$(digest second)" ]; then
        ok "run: the same bits twice on $ranks ranks"
    else
        bad "run: the same bits twice on $ranks ranks" "$(digest first) and $(digest second)"
    fi
done

# A small network's threads work side by side: two threads of a rank compute what two ranks of a thread do.
side="bits.yaml --fresh --set batch_size=200"
# shellcheck disable=SC2086 # words of $side
train 2 $side --set name=ranks || { cat out; bad "run on 2 ranks x 1 thread" "exit $?"; }
for name in threads again; do
    # shellcheck disable=SC2086
    DLTRAIN_THREADS=2 train 1 $side --set name=$name || { cat out; bad "run on 1 rank x 2 threads" "exit $?"; }
    want=$(digest ranks)
    if grep -q "1 rank x 2 threads side by side" out && [ -n "$want" ] && [ "$(digest $name)" = "$want" ] &&
        cmp runs/ranks/log.csv runs/$name/log.csv; then
        ok "run: 2 threads side by side are 2 ranks of a thread"
    else
        bad "run: 2 threads side by side are 2 ranks of a thread" "'$(digest $name)' is not '$want'"
    fi
done
rm -r "runs/again/checkpoints/$(ls runs/again/checkpoints | grep step- | tail -n 1)" runs/again/status.json
DLTRAIN_THREADS=2 train 1 bits.yaml --set batch_size=200 --set name=again || { cat out; bad "going on" "exit $?"; }
grep -q "resumed after" out && [ "$(digest again)" = "$(digest threads)" ] && ok "run: the same bits after going on" ||
    { cat out; bad "run: going on" "'$(digest again)' is not '$(digest threads)'"; }
