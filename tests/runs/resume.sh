#!/bin/sh
# Resuming after any step of a 30-step job gives the bits of the uninterrupted run; under any_ranks also on
# another number of ranks; a signal saves a checkpoint and exits with 75.
. "$(dirname "$0")/lib.sh"

cat >resume.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 190}}
  validation: {first: 30}
  prepare: [{reshape: [784]}, {scale: 1/255}]
model:
  - dense: {units: 12, activation: relu}
  - batch_normalization
  - dropout: 0.25
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: {adam: {learning_rate: 0.01, schedule: {cosine_decay: 0.1}}}
metrics: [accuracy]
batch_size: 16
epochs: 3
callbacks: [{reduce_lr_on_plateau: {monitor: val_loss, patience: 0, min_delta: 1}}]
reproducible: any_ranks
shards: 4
checkpoint: {every: 1 steps, keep: 100}
Y
train 1 resume.yaml --fresh --set name=whole || { cat out; bad "the uninterrupted run" "exit"; exit 0; }
want=$(status_of runs/whole weights)
steps=$(ls runs/whole/checkpoints | grep -c step-)
[ "$steps" -ge 30 ] && ok "a checkpoint each step: $steps" || bad "a checkpoint each step" "$steps"

wrong=0
for step in $(seq 1 29); do
    ranks=$((step % 3 + 1))
    rm -rf runs/part
    cp -r runs/whole runs/part
    for folder in runs/part/checkpoints/step-*; do
        number=$(echo "${folder##*step-}" | sed 's/^0*//')
        [ "${number:-0}" -le "$step" ] || rm -rf "$folder"
    done
    sed -i 's/name: whole/name: part/' runs/part/job.yaml
    rm -f runs/part/status.json runs/part/model.h5
    train $ranks resume.yaml --set name=part || { cat out; wrong=$((wrong + 1)); continue; }
    got=$(status_of runs/part weights)
    [ -n "$got" ] && [ "$got" = "$want" ] || { wrong=$((wrong + 1)); echo "    after step $step on $ranks ranks: '$got', wanted '$want'"; }
    cmp runs/whole/log.csv runs/part/log.csv || wrong=$((wrong + 1))
    epochs=$(sed 's/, "time.*//' runs/part/metrics.jsonl | tr -d '\n')
    [ "$epochs" = "$(sed 's/, "time.*//' runs/whole/metrics.jsonl | tr -d '\n')" ] ||
        { wrong=$((wrong + 1)); echo "    metrics.jsonl after step $step: $epochs"; }
done
[ $wrong = 0 ] && ok "resumed after each of 29 steps, on 1 to 3 ranks" || bad "resumed after each of 29 steps" "$wrong differ"

# A signal: exit 75, and the run goes on where it was. A signal to mpirun reaches the ranks as SIGTERM, a second
# before they are killed, and mpirun has an exit code of its own.
long="resume.yaml --set epochs=400 --set checkpoint.keep=2"
every="checkpoint.every=100 epochs"
# shellcheck disable=SC2086 # words of $long
train 2 $long --fresh --set name=long --set "$every" || { cat out; bad "the long run" "exit"; }
want=$(status_of runs/long weights)
for signal in TERM INT mpirun; do
    rm -rf runs/stopped*
    # shellcheck disable=SC2086
    mpirun -np 2 "$DLTRAIN" $long --set name=stopped --set "$every" >out 2>&1 &
    pid=$!
    for wait in $(seq 1 200); do
        [ -s runs/stopped/log.csv ] && [ "$(wc -l <runs/stopped/log.csv)" -gt 3 ] && break
        sleep 0.05
    done
    if [ $signal = mpirun ]; then
        kill -s TERM $pid
    else
        kill -s $signal $(cat /proc/$pid/task/*/children) # the ranks alone
    fi
    wait $pid
    code=$?
    state=$(status_of runs/stopped state)
    if [ $signal = mpirun ]; then
        [ $code != 0 ] && [ "$state" = stopped ] && ok "SIGTERM to mpirun: exit $code, $state" ||
            { tail -n 20 out; bad "SIGTERM to mpirun" "exit $code, $state"; }
    elif [ $code = 75 ] && [ "$state" = stopped ] && grep -q 'stopped by' out; then
        ok "SIG$signal: stopped with a checkpoint"
    else
        cat out
        bad "SIG$signal" "exit $code, $state"
    fi
    # shellcheck disable=SC2086
    train 1 $long --set name=stopped --set "$every" || cat out
    got=$(status_of runs/stopped weights)
    [ "$got" = "$want" ] && cmp runs/long/log.csv runs/stopped/log.csv &&
        ok "$signal: same bits and log after going on" || bad "$signal: going on" "$got, wanted $want"
done

# A batch of one sample on two ranks: rank 0 never has one, and its signal counts all the same, within the
# epoch. So does its clock.
# shellcheck disable=SC2086
mpirun -np 2 "$DLTRAIN" resume.yaml --set name=idle --set data.train.synthetic.samples=200000 --set batch_size=1 \
    --set epochs=1 --set callbacks=[] --set 'checkpoint.every=1 s' >out 2>&1 &
pid=$!
for wait in $(seq 1 200); do
    ls runs/idle/checkpoints 2>/dev/null | grep -q '^step-' && break
    sleep 0.1
done
ls runs/idle/checkpoints 2>/dev/null | grep -q '^step-' && ok "an idle rank: a checkpoint when it is time" ||
    bad "an idle rank: a checkpoint when it is time" "none"
for rank in $(cat /proc/$pid/task/*/children); do
    tr '\0' '\n' <"/proc/$rank/environ" | grep -qx OMPI_COMM_WORLD_RANK=0 && kill -s TERM "$rank"
done
for wait in $(seq 1 100); do
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
kill -s KILL $pid 2>/dev/null # of a run that goes on
wait $pid
code=$?
[ $code = 75 ] && [ "$(status_of runs/idle state)" = stopped ] && ok "an idle rank: SIGTERM" ||
    { cat out; bad "an idle rank: SIGTERM" "exit $code"; }
