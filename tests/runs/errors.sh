#!/bin/sh
# Bad input on 1 and 2 ranks: the exit code of job.md, a message that names the fault, nobody hangs.
. "$(dirname "$0")/lib.sh"

# job TEXT-OF-DATA TEXT-OF-MODEL: writes bad.yaml around them.
job() {
    cat >bad.yaml <<Y
data:
  $1
model:
  $2
loss: ${3:-sparse_categorical_crossentropy}
optimizer: ${4:-adam}
metrics: [accuracy]
batch_size: 32
epochs: 1
Y
}
digits='train: {synthetic: {kind: digits, samples: 200}}
  prepare: [{reshape: [784]}, {scale: 1/255}]'
dense='- dense: {units: 10, activation: softmax}'

# fails NAME CODE PATTERN [ARGUMENTS]: bad.yaml on 1 and 2 ranks.
fails() {
    name=$1 code=$2 pattern=$3
    shift 3
    for ranks in 1 2; do
        timeout 60 mpirun -np $ranks "$DLTRAIN" bad.yaml --fresh "$@" >out 2>&1
        got=$?
        if [ $got = "$code" ] && grep -qE "$pattern" out; then
            ok "$name on $ranks"
        else
            head -n 8 out | sed 's/^/    /'
            bad "$name on $ranks" "exit $got, wanted $code and '$pattern'"
        fi
    done
}

job "$digits" '- dens: {units: 10}';                     fails "unknown layer" 2 "'dens' is not a layer; did you mean 'dense'"
job "$digits" '- dense: {unit: 10}';                     fails "unknown argument" 2 "did you mean 'units'"
job "$digits" '- dense: {units: ten}';                   fails "wrong type" 2 "bad.yaml:5:"
job "$digits" '- dense: {units: -3}';                    fails "out of range" 2 "bad.yaml:5:"
job "$digits" '- dense: {units: 10, units: 11}';         fails "duplicate key" 2 "given twice"
job "$digits" '- {dense: 10, inputs: nowhere}';          fails "unknown input" 2 "neither a layer above nor a field"
job "$digits" '- dense: {units: 5, activation: softmax}'; fails "too few classes" 2 "gives 5 values"
job "$digits" '- conv2d: {filters: 4, kernel_size: 3}';  fails "shapes do not meet" 2 "bad.yaml:5:"
job "$digits" "$dense";                                  fails "unknown --set path" 2 "optimizer" --set optimiser.adam.learning_rate=1
job "$digits" "$dense";                                  fails "more ranks than shards" 0 "" --set reproducible=any_ranks
job 'train: {idx: {x: nowhere.gz, y: nothing.gz}}' "$dense"; fails "missing file" 66 "no file .*nowhere.gz"
head -c 100 /dev/urandom >short.idx
job 'train: {idx: {x: short.idx, y: short.idx}}' "$dense"; fails "no IDX file" 66 "short.idx"
printf '\000\000\010\001\000\000\000\012\001\002' >cut.idx
job 'train: {idx: {x: cut.idx, y: cut.idx}}' "$dense";   fails "truncated file" 66 "cut.idx"
printf '\000\000\010\001\000\000\000\002\001\002\003\004' >long.idx
job 'train: {idx: {x: long.idx, y: long.idx}}' "$dense"; fails "over-long file" 66 "long.idx"
job 'train: {values: {x: [[1], [2]], y: [0, 1]}}
  test: {from: train, first: 2}' "$dense";               fails "0 samples" 2 "0 samples"
job "$digits" "$dense" mse "{sgd: {learning_rate: 1e30}}"
sed -i 's/mse/{mse: {target: y}}/; s/units: 10, activation: softmax/units: 1/' bad.yaml
fails "NaN loss" 1 "loss is (NaN|infinite) at step" --set epochs=50
job "$digits" "$dense";                                  fails "cannot write" 73 "/proc/nowhere" --set output=/proc/nowhere

"$DLTRAIN" >out 2>&1; [ $? = 2 ] && ok "no job" || bad "no job" "$(cat out)"
"$DLTRAIN" --nonsense >out 2>&1; [ $? = 2 ] && ok "unknown option" || bad "unknown option" "$(cat out)"
"$DLTRAIN" nowhere.yaml >out 2>&1; [ $? = 66 ] && ok "no such job" || bad "no such job" "$(cat out)"

# An earlier run under the same name: another job is refused and nothing of it is lost.
job "$digits" "$dense"
train 1 bad.yaml --fresh || bad "first run" "$(cat out)"
before=$(find runs/bad -type f -exec cksum {} + | sort | cksum)
train 1 bad.yaml --set optimizer.adam.learning_rate=0.01
[ $? = 2 ] && grep -q 'learning_rate' out && ok "another job under the same name" || bad "another job under the same name" "$(cat out)"
after=$(find runs/bad -type f -exec cksum {} + | sort | cksum)
[ "$before" = "$after" ] && ok "nothing of it changed" || bad "nothing of it changed" "files differ"
