#!/bin/sh
# What a run keeps and how it goes on: finished trainings are not trained again, alone or of several; the best
# weights of early_stopping and checkpoint.best; which checkpoints are made and which stay.
. "$(dirname "$0")/lib.sh"

cat >keep.yaml <<'Y'
data:
  source: {synthetic: {kind: digits, samples: 120}}
  test: {first: 20}
  validation: {first: 20}
  prepare: [{reshape: [784]}, {scale: 1/255}]
model:
  - {dense: {units: 10, activation: softmax}, name: out}
loss: sparse_categorical_crossentropy
optimizer: {sgd: {learning_rate: 0.1}}
metrics: [accuracy]
batch_size: 16
epochs: 4
Y

# run TITLE RANKS ARGUMENTS...: of keep.yaml
run() {
    title=$1 ranks=$2
    shift 2
    train "$ranks" keep.yaml "$@" && return 0
    code=$?
    tail -n 20 out
    bad "$title" "exit $code"
    return 1
}
# is TITLE VALUE WANTED
is() { [ -n "$3" ] && [ "$2" = "$3" ] && ok "$1: $2" || bad "$1" "'$2', wanted '$3'"; }
# has TITLE PATTERN: in what the last run printed
has() { grep -q "$2" out && ok "$1" || { cat out; bad "$1" "no '$2' in the output"; }; }
steps() { ls "runs/$1/checkpoints" | sed -n 's/^step-0*//p' | tr '\n' ' '; }
column() { # RUN NAME: of log.csv, a line each
    tr -d '\r' <"runs/$1/log.csv" | awk -F, -v name="$2" 'NR == 1 {for (i = 1; i <= NF; i++) if ($i == name) c = i; next} {print $c}'
}

# ---- started again
run "a training" 1 --set name=again
weights=$(status_of runs/again weights) accuracy=$(status_of runs/again test_accuracy)
cp runs/again/log.csv before.csv
run "a finished one" 2 --set name=again
has "a finished one says so" "only evaluated again"
is "a finished one, weights" "$(status_of runs/again weights)" "$weights"
is "a finished one, accuracy" "$(status_of runs/again test_accuracy)" "$accuracy"
cmp before.csv runs/again/log.csv && ok "a finished one, log" || bad "a finished one, log" "it changed"
run "every 1 steps" 1 --set name=each --set 'checkpoint.every=1 steps'
run "every 1 steps, again" 1 --set name=each --set 'checkpoint.every=1 steps'
has "every 1 steps, finished" "only evaluated again"

# ---- which checkpoints are made; an epoch has 5 steps
run "every 3 steps" 1 --set name=three --set 'checkpoint.every=3 steps' --set checkpoint.keep=100
is "every 3 steps" "$(steps three)" "3 6 9 12 15 18 20 "
run "a list" 1 --set name=list --set 'checkpoint.every=[8 steps, 2 epochs]' --set checkpoint.keep=100
is "every 8 steps and 2 epochs" "$(steps list)" "8 10 16 20 "
run "2 epochs" 1 --set name=two --set 'checkpoint.every=3 epochs' --set checkpoint.keep=100
is "every 3 epochs" "$(steps two)" "15 20 "
run "keep" 1 --set name=kept --set 'checkpoint.every=1 steps' --set checkpoint.keep=3
is "keep 3" "$(steps kept)" "18 19 20 "
# A time; rank 0 of 3 has no samples in a batch of 2, so others must look at their clocks.
begun=$(date +%s)
run "a time" 3 --set name=timed --set 'checkpoint.every=[1 s, 1000000 steps]' --set checkpoint.keep=1000 \
    --set batch_size=2 --set epochs=1500
made=$(steps timed | wc -w)
most=$(($(date +%s) - begun + 2))
[ "$made" -ge 2 ] && [ "$made" -le $most ] && ok "every second: $made checkpoints" || bad "every second" "$made checkpoints"

# ---- the best weights
for ranks in 1 2; do
    run "checkpoint.best" $ranks --fresh --set name=best --set checkpoint.best=val_accuracy --set epochs=8 \
        --set optimizer.sgd.learning_rate=0.8 --set evaluate.parts='[validation]'
    best=$(column best val_accuracy | sort -g | tail -n 1)
    is "checkpoint.best on $ranks ranks" "$(status_of runs/best validation_accuracy)" "$best"
    has "checkpoint.best says so" "weights of the best epoch"
    timeout 60 mpirun -np $ranks "$DLTRAIN" eval runs/best >out 2>&1
    is "eval of the best" "$(sed -n 's/^validation_accuracy //p' out)" "$best"
done
early() { # RANKS
    run "early stopping" "$1" --set name=early --set epochs=50 --set optimizer.sgd.learning_rate=2 \
        --set evaluate.parts='[validation]' \
        --set 'callbacks=[{early_stopping: {monitor: val_loss, patience: 2, restore_best_weights: true}}]'
}
early 2
epochs=$(column early val_loss | wc -l)
least=$(column early val_loss | sort -g | head -n 1)
at=$(column early val_loss | grep -nxF "$least" | head -n 1 | cut -d: -f1)
is "early stopping ends two epochs after the best" "$epochs" $((at + 2))
awk -v a="$(status_of runs/early validation_loss)" -v b="$least" 'BEGIN {exit !(a - b < 1e-9 && b - a < 1e-9)}' &&
    ok "early stopping: the best weights are back" ||
    bad "early stopping" "loss $(status_of runs/early validation_loss), the best was $least"
weights=$(status_of runs/early weights)
early 1
has "early stopping, again" "only evaluated again"
is "early stopping, again" "$(status_of runs/early weights)" "$weights"

# Keras 2.4: an end that early stopping did not bring keeps the weights of the last epoch.
run "early stopping that does not stop" 2 --set name=late --set epochs=6 --set optimizer.sgd.learning_rate=2 \
    --set evaluate.parts='[validation]' \
    --set 'callbacks=[{early_stopping: {monitor: val_loss, patience: 50, restore_best_weights: true}}, {stop_when: "epoch >= 5"}]'
is "stop_when stops" "$(column late val_loss | wc -l)" 5
last=$(column late val_loss | tail -n 1)
[ "$last" != "$(column late val_loss | sort -g | head -n 1)" ] || bad "early stopping that does not stop" "the last epoch is the best"
awk -v a="$(status_of runs/late validation_loss)" -v b="$last" 'BEGIN {exit !(a - b < 1e-9 && b - a < 1e-9)}' &&
    ok "early stopping that did not stop: the last weights stay" ||
    bad "early stopping that did not stop" "loss $(status_of runs/late validation_loss), the last was $last"
timeout 60 "$DLTRAIN" eval runs/late >out 2>&1
is "eval of the last" "$(sed -n 's/^validation_loss //p' out | cut -c1-6)" "$(echo "$last" | cut -c1-6)"

# ---- what may change between runs
run "the first part" 1 --set name=moved --set 'callbacks=[{stop_when: "epoch >= 9"}]' --set 'checkpoint.every=2 steps'
run "other checkpoints" 2 --set name=moved --set 'callbacks=[{stop_when: "epoch >= 9"}]' --set 'checkpoint.every=1 epochs' \
    --set checkpoint.keep=5 --set 'evaluate.parts=[train]'
has "other checkpoints" "only evaluated again"
grep -q 'keep: 5' runs/moved/job.yaml && ok "job.yaml says so" || bad "job.yaml" "still the old one"

# ---- several trainings: stopped in the middle, those that are finished are not trained again
several() { # NAME WHAT: on $ranks
    run "several" "${ranks:-1}" --set name="$1" --set "$2" --set epochs=40 --set reproducible=any_ranks
}
for what in "repeat=3" "data.validation={folds: 3}"; do
    name=${what%%[.=]*}
    several "$name-whole" "$what"
    want=$(status_of "runs/$name-whole" weights) accuracy=$(status_of "runs/$name-whole" test_accuracy)
    rm -rf "runs/$name-cut"
    mpirun -np 2 "$DLTRAIN" keep.yaml --set name="$name-cut" --set "$what" --set epochs=40 \
        --set reproducible=any_ranks >out 2>&1 &
    pid=$!
    for wait in $(seq 1 400); do # until the second one has begun
        for log in runs/"$name"-cut/*-2/log.csv; do
            [ -s "$log" ] && break 2
        done
        sleep 0.02
    done
    kill -s TERM $(cat /proc/$pid/task/*/children)
    wait $pid
    is "$name: stopped in the middle" "$?" 75
    first=$(cksum runs/"$name"-cut/*-1/model.h5 runs/"$name"-cut/*-1/checkpoints/step*/* | cksum)
    ranks=3 several "$name-cut" "$what"
    [ "$(grep -c 'only evaluated again' out)" = 1 ] && grep -q 'resumed after step' out &&
        ok "$name: the first is not trained again, the second goes on" ||
        { cat out; bad "$name: going on" "says otherwise"; }
    is "$name: weights of the last" "$(status_of "runs/$name-cut" weights)" "$want"
    is "$name: mean test accuracy" "$(status_of "runs/$name-cut" test_accuracy)" "$accuracy"
    is "$name: the first as it was" "$(cksum runs/"$name"-cut/*-1/model.h5 runs/"$name"-cut/*-1/checkpoints/step*/* | cksum)" "$first"
    for log in runs/"$name"-whole/*/log.csv; do
        cmp "$log" "runs/$name-cut/${log#runs/"$name"-whole/}" || bad "$name: $log" "differs"
    done
done
