#!/bin/sh
# precision: bf16, and fp16 where there is no GPU. Where the processor cannot, exit 69 on every rank and one message; where it can, the same
# bits under any_ranks and from run to run, and MNIST accuracies within 0.003 of float32's.
#   BF16=full DLTRAIN_DATA=FOLDER sh tests/runs/bf16.sh    the convnet as well, which takes minutes
. "$(dirname "$0")/lib.sh"
mkdir -p bf16 && cd bf16 || exit 1

cat >bf16.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 1001}}
  test: {first: 101}
  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]
precision: bf16
model:
  - conv2d: {filters: 8, kernel_size: 3, activation: relu}
  - batch_normalization
  - {name: skip, activation: relu}
  - conv2d: {filters: 8, kernel_size: 3, padding: same}
  - add:
    inputs: [skip, conv2d_1]
  - average_pooling2d: 2
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

# Held below AVX-512: refused.
for ranks in 1 2; do
    ONEDNN_MAX_CPU_ISA=AVX2 train $ranks bf16.yaml --fresh --set name=refused
    code=$?
    words=$(grep -c "bf16.yaml:.*precision: bf16 needs a processor that multiplies bfloat16" "$WORK/out")
    [ $code = 69 ] && [ "$words" = 1 ] && [ ! -e runs/refused ] &&
        ok "bf16 without its instructions on $ranks ranks: exit 69" ||
        { cat "$WORK/out"; bad "bf16 without its instructions on $ranks ranks" "exit $code, $words messages"; }
done

train 1 bf16.yaml --fresh --set name=refused --set precision=fp16
code=$?
[ $code = 69 ] && grep -q "precision: fp16 needs a GPU" "$WORK/out" && [ ! -e runs/refused ] &&
    ok "fp16 on a CPU: exit 69" || { cat "$WORK/out"; bad "fp16 on a CPU" "exit $code"; }

"$DLTRAIN" plan bf16.yaml >plan 2>&1
code=$?
if [ $code = 69 ]; then
    skip "bf16 trained" "this processor does not multiply bfloat16"
    exit 0
fi
grep -q "bf16, multiplied by A" plan && ok "the plan tells the precision and what multiplies" ||
    { cat plan; bad "the plan tells the precision" "exit $code"; }
activations() { sed -n 's/^  activations *\([0-9.]*\).*/\1/p' "$1"; }
"$DLTRAIN" plan bf16.yaml --set precision=fp32 >plan32 2>&1
awk -v half="$(activations plan)" -v all="$(activations plan32)" \
    'BEGIN {exit !(half > 0.45 * all && half < 0.65 * all)}' &&
    ok "activations take about half: $(activations plan) of $(activations plan32) MiB" ||
    bad "activations take about half" "$(activations plan) of $(activations plan32) MiB"

want=
for threads in 1 2; do
    for ranks in 1 2 3; do
        name=any-$ranks-$threads
        DLTRAIN_THREADS=$threads train $ranks bf16.yaml --fresh --set name=$name \
            --set reproducible=any_ranks || { cat "$WORK/out"; bad "bf16 on $ranks ranks x $threads" "exit $?"; continue; }
        got=$(status_of runs/$name weights)
        : "${want:=$got}"
        if [ -n "$got" ] && [ "$got" = "$want" ] && cmp runs/any-1-1/model.h5 runs/$name/model.h5 &&
            cmp runs/any-1-1/log.csv runs/$name/log.csv; then
            ok "bf16 any_ranks on $ranks ranks x $threads threads: $got"
        else
            bad "bf16 any_ranks on $ranks ranks x $threads threads" "'$got' is not '$want'"
        fi
    done
done
for name in run-1 run-2; do
    train 2 bf16.yaml --fresh --set name=$name || cat "$WORK/out"
done
[ -n "$(status_of runs/run-1 weights)" ] && cmp runs/run-1/model.h5 runs/run-2/model.h5 &&
    ok "bf16 twice on 2 ranks, the same bits" || bad "bf16 twice on 2 ranks" "bits differ"
train 1 bf16.yaml --fresh --set name=wide --set precision=fp32
cmp -s runs/wide/model.h5 runs/run-1/model.h5 && bad "bf16 is another precision" "float32's bits" ||
    ok "bf16 is another precision than fp32"

# near RANKS JOB: test accuracy in bf16 within 0.003 of float32's, same seed.
near() {
    for precision in fp32 bf16; do
        train "$1" "$root/jobs/$2.yaml" --fresh --set name=$2-$precision --set precision=$precision ||
            tail -n 5 "$WORK/out"
    done
    wide=$(status_of runs/$2-fp32 test_accuracy) half=$(status_of runs/$2-bf16 test_accuracy)
    awk -v a="$wide" -v b="$half" 'BEGIN {d = a - b; exit !(a > 0.9 && d < 0.003 && d > -0.003)}' &&
        ok "$2, test accuracy: $half in bf16, $wide in float32" ||
        bad "$2 in bf16 within 0.003 of float32" "'$half' and '$wide'"
}
if need_data mnist "mnist-mlp in bf16"; then
    near 2 mnist-mlp
    if [ "${BF16:-}" = full ]; then
        near 2 mnist-convnet
    fi
fi
