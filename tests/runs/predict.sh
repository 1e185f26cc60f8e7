#!/bin/sh
# predict: a file without labels, on any number of ranks; several inputs as the arrays of one .npz, which
# are read by name; wrong files.
. "$(dirname "$0")/lib.sh"

cat >predict.yaml <<'Y'
data:
  train: {synthetic: {kind: vectors, samples: 64, fields: {x: {shape: [3]}, y: {classes: 3}}}}
  prepare: [{standardize: {}}, {one_hot, field: y}]
model: [{dense: {units: 3, activation: softmax}}]
loss: categorical_crossentropy
optimizer: sgd
batch_size: 16
epochs: 1
reproducible: any_ranks
Y
printf '%s\n' 1,2,3 0.5,-1,2 -3,0,1 4,4,4 0,0,0 >inputs.csv
train 1 predict.yaml --fresh || { cat out; bad "the run to predict with" "exit"; exit 0; }
for ranks in 1 2 3; do
    mpirun -np $ranks "$DLTRAIN" predict runs/predict inputs.csv >predicted.$ranks 2>err || cat err
done
rows=$(grep -c '^[0-9]' predicted.1)
sums=$(awk '/^[0-9]/ {s = $3 + $4 + $5; if (s < 0.9999 || s > 1.0001) wrong++} END {print wrong + 0}' predicted.1)
[ "$rows" = 5 ] && [ "$sums" = 0 ] && ok "predict without labels" || { cat predicted.1; bad "predict without labels" "$rows rows, $sums wrong"; }
cmp -s predicted.1 predicted.2 && cmp -s predicted.1 predicted.3 && ok "predict on 1, 2 and 3 ranks" || bad "predict on 1, 2 and 3 ranks" "they differ"

echo 1,2 >narrow.csv
mpirun -np 2 "$DLTRAIN" predict runs/predict narrow.csv >out 2>&1
code=$?
[ $code = 2 ] && grep -q "(2,)" out && ok "predict: a wrong shape" || { cat out; bad "predict: a wrong shape" "exit $code"; }

# An archive with arrays a (3, 2) and b, of which the network reads a.
sed -e 's/x: {shape: .3.}/a: {shape: [2]}/' -e 's/{standardize: {}}/{standardize: {}, field: a}/' \
    -e 's/softmax}}/softmax}, inputs: a}/' predict.yaml >archive.yaml
train 1 archive.yaml --fresh || { cat out; bad "the run to predict an archive with" "exit"; }
tail -c +2 "$root/tests/fuzz/corpus/source/npz" >inputs.npz
mpirun -np 2 "$DLTRAIN" predict runs/archive inputs.npz >out 2>&1
code=$?
[ $code = 0 ] && [ "$(grep -c '^[0-9]' out)" = 3 ] && ok "predict: an archive" || { cat out; bad "predict: an archive" "exit $code"; }
head -c 200 inputs.npz >broken.npz
mpirun -np 2 "$DLTRAIN" predict runs/archive broken.npz >out 2>&1
code=$?
[ $code = 66 ] && ok "predict: a broken archive" || { cat out; bad "predict: a broken archive" "exit $code"; }
