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
rows=$(sed 's/,[^,]*$//' runs/whole/log.csv | cksum)
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
    [ "$(sed 's/,[^,]*$//' runs/part/log.csv | cksum)" = "$rows" ] || { wrong=$((wrong + 1)); echo "    log.csv differs after step $step"; }
done
[ $wrong = 0 ] && ok "resumed after each of 29 steps, on 1 to 3 ranks" || bad "resumed after each of 29 steps" "$wrong differ"

# A signal: exit 75, and the run goes on where it was.
train 2 resume.yaml --fresh --set name=long --set epochs=400 --set 'checkpoint.every=100 epochs' --set 'checkpoint.keep=2' || { cat out; bad "the long run" "exit"; }
want=$(status_of runs/long weights)
for signal in TERM INT; do
    rm -rf runs/stopped*
    mpirun -np 2 "$DLTRAIN" resume.yaml --fresh --set name=stopped --set epochs=400 --set 'checkpoint.every=100 epochs' --set 'checkpoint.keep=2' >out 2>&1 &
    pid=$!
    for wait in $(seq 1 100); do
        [ -s runs/stopped/log.csv ] && [ "$(wc -l <runs/stopped/log.csv)" -gt 3 ] && break
        sleep 0.05
    done
    kill -s $signal $(cat /proc/$pid/task/*/children) # the ranks alone, not mpirun
    wait $pid
    code=$?
    if [ $code = 75 ] || grep -q 'stopped by' out; then ok "SIG$signal: stopped with a checkpoint"; else cat out; bad "SIG$signal" "exit $code"; fi
    train 1 resume.yaml --set name=stopped --set epochs=400 --set 'checkpoint.every=100 epochs' --set 'checkpoint.keep=2' || cat out
    [ "$(status_of runs/stopped weights)" = "$want" ] && ok "SIG$signal: same bits after going on" || bad "SIG$signal: same bits" "$(status_of runs/stopped weights), wanted $want"
done
