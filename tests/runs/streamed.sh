#!/bin/sh
# Steps of data.prepare on a device (tests/shim plays it): samples that are streamed come as stored and the program
# does their steps; samples that live there were prepared by the reader. The bits are the same, on any number of
# ranks, in training, evaluation and prediction; and what is wrong with a sample is told before a batch is read.
. "$(dirname "$0")/lib.sh"
mkdir -p streamed && cd streamed || exit 1
library=${BUILD:-$root/build}/libdl_cuda_shim.so
if [ ! -r "$library" ]; then
    skip "steps on the device of the shim" "libdl_cuda_shim.so is not built"
    exit 0
fi
export DLTRAIN_THREADS=1 DLTRAIN_CUDA_LIBRARY="$library"

# Unknown values, negative zeros, classes by name; 53 samples make batches of 16, 16, 16 and 5.
awk 'BEGIN { split("low middle high", name); for (i = 0; i < 71; i++)
    printf "%s,%s,%d,%s,%s\n", i % 5 ? i * 37 % 11 - 4.5 : "", i % 7 ? "-0" : "?", i * i % 19, i % 4,
        name[i * 3 % 7 % 3 + 1] }' >table.csv
cat >table.yaml <<'Y'
data:
  source: {csv: {file: table.csv, missing: "?", fields: {x: 0..2, kind: 3, y: 4}}}
  validation: {last: 7}
  test: {last: 11}
  prepare:
    - {scale: {by: -0.5, offset: -0.0}}
    - {fill_missing: median}
    - standardize: {epsilon: 0.01}
    - {one_hot: 6, field: kind}
    - {reshape: [2, 3], field: kind}
    - {scale: 3, field: kind}
    - {one_hot, field: y}
model:
  - {flatten, inputs: kind, name: flat}
  - {concatenate, inputs: [x, flat]}
  - dense: {units: 7, activation: tanh}
  - dense: {units: 3, activation: softmax}
loss: categorical_crossentropy
optimizer: {adam: {learning_rate: 0.05}}
metrics: [accuracy]
class_weight: balanced
batch_size: 16
epochs: 3
Y
# Bytes and their labels: convolutions, each pixel standardised by itself.
cat >images.yaml <<'Y'
data:
  source: {synthetic: {kind: digits, samples: 130}}
  validation: {last: 20}
  test: {last: 10}
  prepare: [{reshape: [28, 28, 1]}, {standardize: {epsilon: 1}}, {fill_missing: 0}, {one_hot: 300, field: y}]
model:
  - conv2d: {filters: 4, kernel_size: 3, strides: 2, activation: relu}
  - flatten
  - dense: {units: 300, activation: softmax}
loss: categorical_crossentropy
optimizer: sgd
batch_size: 32
epochs: 2
Y

# run JOB RANKS GPUS NAME ARGUMENTS...
run() {
    job=$1 ranks=$2 SHIM_GPUS=$3 name=$4
    export SHIM_GPUS
    shift 4
    train "$ranks" "$PWD/$job.yaml" --fresh --set device=cuda --set name="$name" "$@" ||
        { cat "$WORK/out"; bad "$name" "exit"; }
}

for setting in "table 1 1 fp32" "table 2 2 fp32" "table 3 1 fp32" "images 1 1 fp32" "images 2 2 bf16"; do
    set -- $setting
    run "$1" "$2" "$3" here --set precision="$4" --set data.on_device=auto
    run "$1" "$2" "$3" streamed --set precision="$4" --set data.on_device=never
    same=yes
    for file in model.h5 log.csv; do
        cmp -s runs/here/$file runs/streamed/$file || same=$file
    done
    for way in here streamed; do
        mpirun -np "$2" "$DLTRAIN" eval runs/$way >eval.$way 2>&1 || cat eval.$way
        grep -v 'runs/' eval.$way >eval.$way.rest
    done
    cmp -s eval.here.rest eval.streamed.rest || same=evaluation
    what="$1 on $2 ranks with $3 GPUs in $4: steps on the device have the reader's bits"
    if [ $same = yes ]; then ok "$what"; else bad "$what" "$same differs"; fi
done

# Under any_ranks as on one.
for ranks in 1 3; do
    run table $ranks 2 any-$ranks --set reproducible=any_ranks --set data.on_device=never
done
run table 1 1 any-here --set reproducible=any_ranks --set data.on_device=auto
if cmp -s runs/any-1/model.h5 runs/any-3/model.h5 && cmp -s runs/any-1/model.h5 runs/any-here/model.h5; then
    ok "table under any_ranks, on 1 and on 3 ranks: the same bits"
else
    bad "table under any_ranks, on 1 and on 3 ranks: the same bits" "they differ"
fi

# What is predicted always streams: numbers that become rows, and such with unknown ones among them. Beside the CPU it
# differs by what sums in another order explain.
awk 'BEGIN { for (i = 0; i < 40; i++) printf "%d,%d,%s,%s,%d\n", i % 6, i * 5 % 6, i % 4 ? i / 8 - 2 : "", i % 3, i % 3
    }' >codes.csv
cut -d, -f1 codes.csv >codes.in.csv
cut -d, -f3,4 codes.csv >floats.in.csv
# predicted NAME FIELDS STEPS
predicted() {
    cat >"$1.yaml" <<Y
data:
  source: {csv: {file: codes.csv, fields: {x: $2, y: 4}}}
  prepare: [$3]
model: [flatten, {dense: {units: 3, activation: softmax}}]
loss: sparse_categorical_crossentropy
optimizer: {sgd: {learning_rate: 0.5}}
batch_size: 9
epochs: 4
Y
    run "$1" 2 2 "$1-there"
    train 1 "$PWD/$1.yaml" --fresh --set device=cpu --set name="$1-here" || { cat "$WORK/out"; bad "$1" "exit"; }
    mpirun -np 1 "$DLTRAIN" predict "runs/$1-here" "$1.in.csv" >"$1.here" 2>err || cat err
    mpirun -np 2 "$DLTRAIN" predict "runs/$1-there" "$1.in.csv" >"$1.there" 2>err || cat err
    if [ "$(grep -c '^[0-9]' "$1.there")" = 40 ] && paste -d, "$1.here" "$1.there" | awk -F, '/^[0-9]/ {
        for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); if (!(d < 1e-4 && d > -1e-4)) exit 1 } }'; then
        ok "$1 of samples that stream, as on the CPU"
    else
        paste -d, "$1.here" "$1.there" | head -n 5
        bad "$1 of samples that stream, as on the CPU" "they differ"
    fi
}
predicted codes 0 '{one_hot: 6}, {scale: 0.5}'
predicted floats 2..3 '{fill_missing: mean}, standardize'

# What is wrong with a sample is told by its file and number, or its line, on every rank before it is read.
# refused WHAT JOB COMMAND...
refused() {
    what=$1 text=$2
    shift 2
    mpirun -np 2 "$DLTRAIN" "$@" >out 2>&1
    code=$?
    if [ $code = 2 ] && grep -q "$text" out; then ok "$what"; else cat out; bad "$what" "exit $code"; fi
}
refused "a class outside the rows" "sample 5 of field 'x' is 5, outside the 5 classes of one_hot, 0 to 4" \
    codes.yaml --fresh --set device=cuda --set data.on_device=never --set 'data.prepare=[{one_hot: 5}]'
refused "an unknown value without a step" "codes.csv:1:5: a value of field 'x' is unknown" \
    floats.yaml --fresh --set device=cuda --set data.on_device=never --set 'data.prepare=[{scale: 2}]'
printf '%s\n' 1 6 2 >outside.csv
refused "a class outside the rows, to predict" "sample 1 of field 'x' is 6, outside 0 to 5" \
    predict runs/codes-there outside.csv
