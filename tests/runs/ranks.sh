#!/bin/sh
# What the number of ranks changes without any_ranks: gradients and losses by rounding, counts and accuracy not
# at all; with any_ranks nothing. Ranks without samples, more ranks than processors or shards; a rank that is
# killed ends the job. BUILD: the build folder, for the program that compares gradients.
. "$(dirname "$0")/lib.sh"
COMPARE=${BUILD:-$root/build}/ranks_gradients

# checked TITLE RANKS ARGUMENTS...: trains afresh, or says why not.
checked() {
    title=$1
    shift
    train "$@" --fresh && return 0
    code=$?
    tail -n 20 out
    bad "$title" "exit $code"
    return 1
}

# near TITLE RUN: its gradients are those of run "one", which began as run "start" did.
near() {
    if "$COMPARE" runs/start/checkpoints runs/one/checkpoints "runs/$2/checkpoints" 1e-5 >compared 2>&1; then
        ok "$1"
    else
        cat compared
        bad "$1" "gradients differ"
    fi
}

# equal TITLE VALUE WANTED: the same text, and not none.
equal() {
    [ -n "$3" ] && [ "$2" = "$3" ] && ok "$1: $2" || bad "$1" "'$2' is not '$3'"
}

# close_to TITLE VALUE WANTED TOLERANCE
close_to() {
    if awk -v a="$2" -v b="$3" -v t="$4" 'BEGIN {d = a - b; exit !(a + 0 == a && b + 0 == b && d <= t * b && -d <= t * b)}'; then
        ok "$1: $2"
    else
        bad "$1" "'$2' is not close to '$3'"
    fi
}

# ---- gradients: one step of sgd at a large learning rate; what it moved is the gradient times that rate.
cat >gradients.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 50}}
  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]
model:
  - conv2d: {filters: 4, kernel_size: 5, strides: 2, use_bias: false}
  - batch_normalization
  - activation: tanh
  - conv2d: {filters: 6, kernel_size: 3, activation: tanh, padding: same}
  - average_pooling2d: 2
  - flatten
  - dropout: 0.25
  - dense: {units: 12, activation: tanh}
  - layer_normalization
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: {sgd: {learning_rate: 1024}}
batch_size: 50
epochs: 1
steps_per_epoch: 1
Y
checked "the start" 1 gradients.yaml --set name=start --set epochs=0
export DLTRAIN_THREADS
for batch in 50 7 2; do # 7 divides by no number of ranks, 2 leaves ranks of 3 and 4 without samples
    DLTRAIN_THREADS=1
    checked "gradients on one rank" 1 gradients.yaml --set name=one --set batch_size=$batch || continue
    for form in 2x1 3x1 4x1 1x2 2x2 3x2 4x2; do
        [ $batch = 50 ] || [ ${form#*x} = 1 ] || continue
        DLTRAIN_THREADS=${form#*x}
        title="gradients, batch of $batch, ranks x threads $form"
        checked "$title" "${form%x*}" gradients.yaml --set name=many --set batch_size=$batch && near "$title" many
    done
    [ $batch = 2 ] && continue
    DLTRAIN_THREADS=1
    for form in 1x2 1x3 2x2 2x3 3x2; do
        title="gradients, batch of $batch, ranks x micro-batches $form"
        checked "$title" "${form%x*}" gradients.yaml --set name=many --set batch_size=$batch \
            --set accumulate="${form#*x}" && near "$title" many
    done
done
# Statistics of a rank, of a shard: on one rank without micro-batches the same as global ones.
for form in rank shard; do
    checked "$form statistics" 1 gradients.yaml --set name=one --set batch_size=50 &&
        checked "$form statistics" 1 gradients.yaml --set name=many --set batch_statistics=$form &&
        near "$form statistics on one rank" many
    checked "$form statistics on 3 ranks" 3 gradients.yaml --set name=many --set batch_statistics=$form \
        --set optimizer.sgd.learning_rate=0.01 && ok "$form statistics on 3 ranks"
done
train 2 gradients.yaml --fresh --set name=many --set batch_statistics=rank --set reproducible=any_ranks
code=$?
[ $code = 2 ] && grep -q "gradients.yaml\|--set" out && ok "rank statistics under any_ranks are refused" ||
    { cat out; bad "rank statistics under any_ranks" "exit $code"; }
# Micro-batches and shard statistics under any_ranks: the same bits on any number of ranks.
for sets in "accumulate=2" "accumulate=3" "batch_statistics=shard"; do
    want=
    for ranks in 1 2 3; do
        checked "any_ranks, $sets" $ranks gradients.yaml --set name=many --set optimizer.sgd.learning_rate=0.125 \
            --set epochs=3 --set reproducible=any_ranks --set $sets || continue
        got=$(status_of runs/many weights)
        : "${want:=$got}"
        equal "any_ranks, $sets on $ranks ranks" "$got" "$want"
    done
done
unset DLTRAIN_THREADS

# ---- 10,001 samples: each seen once an epoch, evaluation as on one rank. The network only hands on x, and x
# is a whole number whose sum and sum of squares over any batch are exact in float32.
awk 'BEGIN {
    srand(3); print "x,y"
    for (i = 0; i < 10001; i++) {
        x = int(256 * rand()); sum += x; squares += x * x
        print x "," 0
    }
    printf "%.17g %.17g\n", sum / 10001, squares / 10001 >"once.txt"
}' >once.csv
read -r mean square <once.txt
cat >once.yaml <<'Y'
data:
  train: {csv: {file: once.csv, fields: {x: x, y: y}}}
model:
  - dense: {units: 1, use_bias: false, kernel_initializer: ones}
loss: mse
metrics: [mae]
optimizer: {sgd: {learning_rate: 1e-30}}
batch_size: 64
epochs: 2
evaluate: {parts: [train]}
Y
for ranks in 1 3 8; do
    checked "10,001 samples" $ranks once.yaml || continue
    for key in train_mae mae; do
        close_to "10,001 samples on $ranks ranks, $key" "$(status_of runs/once $key)" "$mean" 1e-15
    done
    for key in train_loss loss; do
        close_to "10,001 samples on $ranks ranks, $key" "$(status_of runs/once $key)" "$square" 1e-15
    done
done
cat >digits.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 300}}
  test: {synthetic: {kind: digits, samples: 10001}}
  prepare: [{reshape: [784]}, {scale: 1/255}]
model: [{dense: {units: 10, activation: softmax}}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: adam
batch_size: 32
epochs: 1
Y
# Started again, a finished training is only evaluated: on any number of ranks.
checked "a test of 10,001 digits" 1 digits.yaml --set name=run
checked "a test of 10,001 digits" 1 digits.yaml --set name=any_ranks --set reproducible=any_ranks
for level in run any_ranks; do
    accuracy=$(status_of runs/$level test_accuracy) loss=$(status_of runs/$level test_loss)
    for ranks in 3 8; do
        train $ranks digits.yaml --set name=$level --set reproducible=$level && grep -q 'only evaluated' out ||
            { cat out; bad "evaluation, $level, $ranks ranks" "exit $?"; continue; }
        equal "accuracy of 10,001 samples, $level, $ranks ranks" "$(status_of runs/$level test_accuracy)" "$accuracy"
        if [ $level = run ]; then
            close_to "loss of 10,001 samples, $level, $ranks ranks" "$(status_of runs/$level test_loss)" "$loss" 1e-6
        else
            equal "loss of 10,001 samples, $level, $ranks ranks" "$(status_of runs/$level test_loss)" "$loss"
        fi
    done
done

# ---- fewer samples than ranks, more ranks than shards.
few() { # TITLE RANKS ARGUMENTS...: two epochs of three samples
    checked "$@" --set data.train.synthetic.samples=3 --set data.test.synthetic.samples=5 --set batch_size=2 \
        --set epochs=2
}
want=
for ranks in 1 4; do
    few "3 samples on $ranks ranks, any_ranks" $ranks digits.yaml --set name=few --set reproducible=any_ranks ||
        continue
    got=$(status_of runs/few weights)
    : "${want:=$got}"
    equal "3 samples on $ranks ranks, any_ranks" "$got" "$want"
done
few "3 samples on 1 rank" 1 digits.yaml --set name=few
loss=$(status_of runs/few loss)
for ranks in 4 5; do
    few "3 samples on $ranks ranks" $ranks digits.yaml --set name=few || continue
    close_to "3 samples on $ranks ranks, loss" "$(status_of runs/few loss)" "$loss" 1e-5
done
train 3 digits.yaml --set name=shards --set reproducible=any_ranks --set shards=2
code=$?
said=$(grep -c '3 ranks cannot share 2 shards' out)
[ $code = 2 ] && [ "$said" = 1 ] && ok "more ranks than shards" ||
    { cat out; bad "more ranks than shards" "exit $code, said $said times"; }

# ---- a rank that is killed: the job ends within seconds, and what was saved is of use.
for rank in 0 2; do
    rm -rf runs/killed
    mpirun -np 3 "$DLTRAIN" digits.yaml --set name=killed --set epochs=100000 --set 'checkpoint.every=50 epochs' \
        >out 2>&1 &
    pid=$!
    for wait in $(seq 1 200); do
        ls runs/killed/checkpoints 2>/dev/null | grep -q '^step-' && break
        sleep 0.1
    done
    victim=$(cat /proc/$pid/task/*/children | tr ' ' '\n' | grep . | sed -n $((rank + 1))p)
    begun=$(date +%s)
    kill -9 "$victim" || bad "rank $rank killed" "no such process"
    wait $pid
    code=$?
    took=$(($(date +%s) - begun))
    [ $code != 0 ] && [ $code != 75 ] && [ $took -le 15 ] && ok "rank $rank killed: exit $code after $took s" ||
        { tail -n 20 out; bad "rank $rank killed" "exit $code after $took s"; }
    timeout 60 mpirun -np 2 "$DLTRAIN" eval runs/killed >out 2>&1 && grep -q test_accuracy out &&
        ok "rank $rank killed: its checkpoint is whole" || { cat out; bad "rank $rank killed: its checkpoint" "exit"; }
done
