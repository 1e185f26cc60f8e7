#!/bin/sh
# A job of expressions alone: the same bits on 1 to 3 ranks, and resumed after any of some steps; its resolved form
# reads back; the same weights as the words that say the same.
. "$(dirname "$0")/lib.sh"

cat >expressions.yaml <<'Y'
data:
  source: {synthetic: {kind: digits, samples: 160}}
  validation: {first: 30}
  prepare: [{reshape: [784]}, {scale: 1/255}]
constants: {momentum: 0.9, slope: 0.25, beta: 0.01}
model:
  - {dense: {units: 12, activation: {expr: "where(x > 0, x, slope_of)"}}, inputs: x, name: hidden}
  - {lambda: "x + 0.1 * normal()", name: noisy}
  - {dense: {units: 10, activation: softmax}, name: out}
loss:
  class: {expr: "sparse_categorical_crossentropy(y_true, y_pred) + 0 * mean(uniform() * hidden)"}
  small: {expr: "beta * sum(square(hidden)) / size(hidden)"}
metrics: [accuracy, {expr: "mean(abs(hidden))", name: activity}]
optimizer:
  expr:
    update: "w + velocity"
    state: {velocity: "momentum * velocity - learning_rate * g / max(sqrt(mean(square(g))), 1)"}
    learning_rate: 0.1
    schedule: {expr: "0.5 ** (epoch / 2)", warmup: 2 steps}
batch_size: 16
epochs: 9
callbacks: [{stop_when: "epoch >= 3 and val_loss < 1000"}]
checkpoint: {every: 1 steps, keep: 100}
reproducible: any_ranks
shards: 4
Y
sed -i 's/slope_of/0.25 * x/' expressions.yaml

want=
for ranks in 1 2 3; do
    train $ranks expressions.yaml --fresh --set name=on-$ranks || { cat out; bad "expressions on $ranks" "exit"; continue; }
    got=$(status_of runs/on-$ranks weights)
    : "${want:=$got}"
    [ -n "$got" ] && [ "$got" = "$want" ] && cmp runs/on-1/log.csv runs/on-$ranks/log.csv &&
        ok "expressions on $ranks ranks: $got" || bad "expressions on $ranks ranks" "'$got' is not '$want'"
done
[ "$(wc -l <runs/on-1/log.csv)" = 4 ] && ok "stop_when: 3 epochs" || bad "stop_when" "$(cat runs/on-1/log.csv)"

for step in 1 9 17 20; do
    rm -rf runs/part
    cp -r runs/on-1 runs/part
    for folder in runs/part/checkpoints/step-*; do
        number=$(echo "${folder##*step-}" | sed 's/^0*//')
        [ "${number:-0}" -le "$step" ] || rm -rf "$folder"
    done
    sed -i 's/name: on-1/name: part/' runs/part/job.yaml
    rm -f runs/part/status.json runs/part/model.h5
    train 2 expressions.yaml --set name=part || { cat out; bad "resumed after step $step" "exit"; continue; }
    [ "$(status_of runs/part weights)" = "$want" ] && cmp runs/on-1/log.csv runs/part/log.csv &&
        ok "resumed after step $step" || bad "resumed after step $step" "$(status_of runs/part weights), wanted $want"
done
grep -q optimizer/velocity/out/kernel runs/on-1/checkpoints/step-00000024/manifest.json &&
    ok "a checkpoint names the state" || bad "a checkpoint names the state" "no velocity in the manifest"

cp runs/on-1/job.yaml again.yaml
train 1 again.yaml --set name=again && [ "$(status_of runs/again weights)" = "$want" ] &&
    ok "the resolved job trains the same" || { cat out; bad "the resolved job" "differs"; }

# Words for what the expressions say.
train 1 expressions.yaml --set name=words --set model.hidden.dense.activation='{leaky_relu: 0.25}' &&
    [ "$(status_of runs/words weights)" = "$want" ] && ok "leaky_relu has the same bits" ||
    { cat out; bad "leaky_relu" "'$(status_of runs/words weights)' is not '$want'"; }
