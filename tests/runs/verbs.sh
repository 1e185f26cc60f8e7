#!/bin/sh
# The verbs and options, as a person uses them: plan, eval, predict, help, --version, --set, --fresh.
. "$(dirname "$0")/lib.sh"
mkdir -p verbs && cd verbs || exit 1

# says NAME PATTERN COMMAND...: success, and a line with the pattern; output stays in `out`.
says() {
    name=$1 pattern=$2
    shift 2
    if timeout 60 "$@" >out 2>&1 && grep -qE -e "$pattern" out; then
        ok "$name"
    else
        head -n 5 out | sed 's/^/    /'
        bad "$name" "no line with '$pattern'"
    fi
}
also() { grep -qE -e "$2" out && ok "$1" || bad "$1" "no line with '$2'"; }
cat >ranks <<'Y'
#!/bin/sh
n=$1
shift
exec mpirun -np "$n" "$DLTRAIN" "$@"
Y
chmod +x ranks
PATH=$PWD:$PATH
export DLTRAIN
# Open MPI 5 warns of networks in lines of its own, "[host][...".
ours() { LC_ALL=C grep -av '^\[' "$1" >"$1.ours"; }
same() { ours "$2"; ours "$3"; cmp -s "$2.ours" "$3.ours" && ok "$1" || bad "$1" "$2 and $3 differ"; }

# Text labels by classes, a learned standardize, one_hot on y, a test part cut from the source.
i=0
echo "width,height,kind" >flowers.csv
while [ $i -lt 60 ]; do
    echo "$i.5,$((100 - i)),$([ $i -lt 30 ] && echo small || echo large)" >>flowers.csv
    i=$((i + 1))
done
cat >flowers.yaml <<'Y'
data:
  source: {csv: {file: flowers.csv, fields: {x: [width, height], y: kind}}}
  test: {random: 20}
  classes: [small, large]
  prepare: [standardize, {one_hot: {}, field: y}]
model: [{dense: 8, name: code}, {dense: {units: 2, activation: softmax}, name: kind, inputs: code}, {dense: {units: 2, activation: softmax}, name: again, inputs: code}]
loss: {kind: {categorical_crossentropy: {target: y}}, again: {categorical_crossentropy: {target: y}}}
optimizer: {adam: 0.05}
metrics: [accuracy]
batch_size: 8
epochs: 10
Y

# plan
says "plan" "^code \(Dense\) +\(None, 2?8\) +24 +x" "$DLTRAIN" plan flowers.yaml --ranks 3
also "plan: total" "^Total params: 60$"
also "plan: batches" "global batch  8 samples on 3 ranks, in 3 pieces of 2 or 3"
also "plan: steps" "steps +5 an epoch x 10 epochs = 50"
also "plan: resolved" "learning_rate: 0.05"
also "plan: paths" "^  model.code.dense$"
also "plan: communication" "1 collective, 0.00 MiB summed over the ranks"
also "plan: threads" "^  1 thread on processor"
says "plan --graph" "matmul .*# code" "$DLTRAIN" plan flowers.yaml --graph
says "plan under mpirun" "on 2 ranks" ranks 2 plan flowers.yaml
[ "$(grep -c '^Total params' out)" = 1 ] && ok "plan speaks once" || bad "plan speaks once" "$(grep -c '^Total params' out) times"
says "plan --set" "^Total params: 200$" "$DLTRAIN" plan flowers.yaml --set model.code.dense.units=28
[ ! -e runs ] && ok "plan leaves nothing" || bad "plan leaves nothing" "a folder runs"
sed 's/{dense: 8, name: code}/{dense: 8}, batch_normalization: {}, {dense: 8, name: code}/; s/, batch_normalization: {}/, batch_normalization/' flowers.yaml >norm.yaml
says "plan: cost of batch_statistics" "of them for batch_statistics: global" "$DLTRAIN" plan norm.yaml --ranks 2
says "plan: batch_statistics: rank" "^  1 collective" "$DLTRAIN" plan norm.yaml --ranks 2 --set batch_statistics=rank
says "plan without a bucket of its own" "^  2 collectives" "$DLTRAIN" plan flowers.yaml --ranks 2 --set "comm.first_bucket=0.1 KiB"

# train, eval
says "train" "again_accuracy|test again_accuracy [01]\.[0-9]{4}.*; [0-9]+ samples/s on 2 ranks; runs/flowers$" ranks 2 flowers.yaml
for word in job.yaml log.csv metrics.jsonl model.h5 status.json checkpoints tensorboard; do
    [ -e runs/flowers/$word ] || bad "the run folder" "no $word"
done
test_loss=$(status_of runs/flowers test_loss)
says "eval" "^test_loss $(printf %.4s "$test_loss")" "$DLTRAIN" eval runs/flowers
cp out eval1
says "eval on 3 ranks" "^test_loss" ranks 3 eval runs/flowers
same "eval on 1 and 3 ranks says the same" eval1 out
says "eval --set" "^train_loss" "$DLTRAIN" eval runs/flowers --set 'evaluate.parts=[train]'
says "started again" "^trained already, 50 steps" "$DLTRAIN" flowers.yaml
also "started again: the same end" "test loss $(printf %.5s "$test_loss").*no step was left to train"
says "--fresh" "is now 'runs/flowers.1'" "$DLTRAIN" flowers.yaml --fresh
says "the last epoch is told again" "^accuracy [01]|kind_accuracy" "$DLTRAIN" flowers.yaml --set 'evaluate.parts=[validation]' --set name=unseen
cp out first
says "... by a finished run" "trained already" "$DLTRAIN" flowers.yaml --set 'evaluate.parts=[validation]' --set name=unseen
[ "$(tail -n 1 first | cut -d';' -f1)" = "$(tail -n 1 out | cut -d';' -f1)" ] && ok "... with the same values" || bad "... with the same values" "$(tail -n 1 out)"

# predict: the run's own columns, all columns, both with the constants learned in training
cut -d, -f1,2 flowers.csv >input.csv
says "predict" "^# kind$" "$DLTRAIN" predict runs/flowers input.csv
also "predict: a row a sample" "^59 [01] [01]?\.?[0-9]"
also "predict: every output" "^# again$"
cp out of_input
says "predict on 3 ranks" "^# again$" ranks 3 predict runs/flowers input.csv
same "predict on 1 and 3 ranks says the same" of_input out
says "predict: the whole table" "^# kind$" "$DLTRAIN" predict runs/flowers flowers.csv
same "predict: labels in the file change nothing" of_input out
sed -n '1p;3,5p' flowers.csv >few.csv
says "predict: few" "^# kind$" "$DLTRAIN" predict runs/flowers few.csv
[ "$(grep '^0 ' out | head -n 1 | cut -d' ' -f2-)" = "$(grep '^1 ' of_input | head -n 1 | cut -d' ' -f2-)" ] &&
    ok "predict: constants are the training's" || bad "predict: constants are the training's" "another output for the same sample"
timeout 60 "$DLTRAIN" predict runs/flowers input.csv --output one.npy >out 2>&1 && [ -s one-kind.npy ] && [ -s one-again.npy ] &&
    ok "predict --output" || bad "predict --output" "$(cat out)"
timeout 60 mpirun -np 3 "$DLTRAIN" predict runs/flowers input.csv --output three.npy >out 2>&1
same "predict --output on 3 ranks" one-again.npy three-again.npy
timeout 60 "$DLTRAIN" predict runs/flowers one-kind.npy >out 2>&1 && ok "predict from .npy" || bad "predict from .npy" "$(cat out)"
printf '\000\000\010\002\000\000\000\002\000\000\000\002\001\002\003\004' >input.idx
says "predict from IDX" "^1 [01] " "$DLTRAIN" predict runs/flowers input.idx
printf '\000\000\010\002\000\000\000\001\000\000\000\004\001\002\003\004' >wide.idx
for n in 1 2; do
    ranks $n predict runs/flowers wide.idx >out 2>&1
    [ $? = 2 ] && [ "$(grep -c 'samples have shape (4,), but the run was trained with (2,)' out)" = 1 ] &&
        ok "predict: another shape on $n" || bad "predict: another shape on $n" "$(head -n 3 out)"
done

# several trainings, and what a lambda sees
says "repeat" "mean of 2 trainings" "$DLTRAIN" flowers.yaml --set name=twice --set 'repeat={times: 2, spread: sample}' --set epochs=2
says "eval of one of them" "^test_loss" "$DLTRAIN" eval runs/twice/repeat-2
says "before training" "^before training: " "$DLTRAIN" flowers.yaml --set name=before --set evaluate.before_training=true --set epochs=1
sed 's/optimizer:/constants: {k: 0}\noptimizer:/; s/{dense: 8, name: code}/{lambda: "x * k", name: half}, {dense: 8, name: code}/' flowers.yaml >nothing.yaml
says "constants" "^0 [01] 0.5 0.5$" sh -c "$DLTRAIN nothing.yaml --set epochs=0 >/dev/null && $DLTRAIN predict runs/nothing input.csv"
for backend in shm mpi; do
    says "comm.backend $backend" "runs/$backend$" ranks 2 flowers.yaml --set name=$backend --set comm.backend=$backend --set reproducible=any_ranks
done
[ "$(status_of runs/shm weights)" = "$(status_of runs/mpi weights)" ] && ok "... the same bits" || bad "... the same bits" "weights differ"

# A log has lines, a terminal one that is rewritten.
ranks 2 flowers.yaml --set name=log --set epochs=300 >out 2>&1
grep -q "$(printf '\r')" out && bad "a log has no terminal codes" "it has" || ok "a log has no terminal codes"
grep -qE ' - [0-9]+ samples/s - .* - lr: 0.05$' out && ok "an epoch's line" || bad "an epoch's line" "$(sed -n 2p out)"

# help, version
says "help" "^  batch_size +samples in the global batch" "$DLTRAIN" help
says "help layers" "^  dense " "$DLTRAIN" help layers
says "help dense" "units \* .*required" "$DLTRAIN" help dense
says "help batch_size" "default: 32" "$DLTRAIN" help batch_size
says "help data.shuffle" "default: true" "$DLTRAIN" help data.shuffle
says "help on 2 ranks" "^  dense " ranks 2 help layers
[ "$(grep -c '^  dense ' out)" = 1 ] && ok "help speaks once" || bad "help speaks once" "$(grep -c '^  dense ' out)"
"$DLTRAIN" help densee >out 2>&1
[ $? = 2 ] && grep -q "did you mean 'dense'" out && ok "help of an unknown word" || bad "help of an unknown word" "$(cat out)"
says "--json-schema" '"\$schema"' "$DLTRAIN" help --json-schema
says "--version" "oneDNN +[0-9.]+ +/.*dnnl" "$DLTRAIN" --version
also "--version: MPI" "MPI +[A-Z]"
says "--help" "mpirun -np 4 dltrain" "$DLTRAIN" --help
