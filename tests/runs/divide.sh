#!/bin/sh
# Ranks of one host update a part of the weights each, in memory that they share: the bits are those of ranks
# that update all (over MPI), whatever the optimizer; checkpoints are whole, and go on with other numbers of ranks.
. "$(dirname "$0")/lib.sh"

cat >divide.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 220}}
  validation: {first: 20}
  prepare: [{reshape: [784]}, {scale: 1/255}]
model:
  - {dense: {units: 13, activation: tanh}, name: frozen}
  - dense: {units: 70, activation: relu, kernel_regularizer: {l2: 0.001}}
  - batch_normalization
  - dense: {units: 65, activation: relu}
  - dense: {units: 10, activation: softmax}
freeze: [frozen]
loss: sparse_categorical_crossentropy
optimizer: adam
metrics: [accuracy]
batch_size: 32
epochs: 2
checkpoint: {keep: 100}
Y

# compare TITLE RUN RUN: the same weights, model and log
same() {
    got=$(status_of "runs/$2" weights)
    [ -n "$got" ] && [ "$got" = "$(status_of "runs/$3" weights)" ] && cmp "runs/$2/model.h5" "runs/$3/model.h5" &&
        cmp "runs/$2/log.csv" "runs/$3/log.csv" && ok "$1: $got" || bad "$1" "$2 and $3 differ"
}

lars='{expr: {update: "w + v", state: {v: "0.9 * v - learning_rate * g * sqrt(sum(square(w)) / (sum(square(g)) + 1e-9))"}}}'
number=0
for optimizer in adam '{sgd: {momentum: 0.9, nesterov: true, weight_decay: 0.01}}' '{adagrad: {clipvalue: 0.001}}' \
    '{rmsprop: {clipnorm: 0.1}}' '{adam: {global_clipnorm: 0.1}}' "$lars"; do
    number=$((number + 1))
    for ranks in 2 3; do
        train $ranks divide.yaml --fresh --set name=shm --set "optimizer=$optimizer" &&
            train $ranks divide.yaml --fresh --set name=mpi --set "optimizer=$optimizer" --set comm.backend=mpi ||
            { tail -n 5 out; bad "$optimizer on $ranks ranks" "exit $?"; continue; }
        same "optimizer $number on $ranks ranks, divided or not" shm mpi
    done
done

"$DLTRAIN" plan divide.yaml --ranks 2 >plan && grep -q 'updates 1/2 of the weights' plan &&
    ok "the plan tells" || { cat plan; bad "the plan tells" "no such line"; }
"$DLTRAIN" plan divide.yaml --ranks 2 --set comm.backend=mpi | grep -q 'of the weights' &&
    bad "over MPI nothing is divided" "the plan says so" || ok "over MPI nothing is divided"

# Saved by two ranks after the first epoch, gone on with by others.
any="--set reproducible=any_ranks --set epochs=3"
# shellcheck disable=SC2086 # words of $any
train 2 divide.yaml --fresh --set name=whole $any || { cat out; bad "the whole run" "exit"; }
for ranks in 1 2 3; do
    rm -rf runs/part && cp -r runs/whole runs/part
    for folder in runs/part/checkpoints/step-*; do
        [ "$(echo "${folder##*step-}" | sed 's/^0*//')" -le 7 ] || rm -rf "$folder"
    done
    sed -i 's/name: whole/name: part/' runs/part/job.yaml
    rm -f runs/part/status.json runs/part/model.h5
    # shellcheck disable=SC2086
    train $ranks divide.yaml --set name=part $any && same "saved by 2 ranks, gone on with by $ranks" whole part ||
        { cat out; bad "gone on with by $ranks ranks" "exit"; }
done

# The best weights come back, and are those that the ranks evaluate and save.
for ranks in 1 3; do
    train $ranks divide.yaml --fresh --set name=best-$ranks --set reproducible=any_ranks --set epochs=4 \
        --set optimizer=adam --set 'callbacks=[{early_stopping: {monitor: val_loss, patience: 0, min_delta: 10, restore_best_weights: true}}]' ||
        { cat out; bad "early stopping on $ranks ranks" "exit"; }
done
same "the best weights, on 1 and 3 ranks" best-1 best-3
