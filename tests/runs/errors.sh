#!/bin/sh
# Bad input on 1 and 2 ranks: the exit code of job.md, a message that names the fault, said once and last,
# nobody hangs, and what an earlier run left stays as it was.
. "$(dirname "$0")/lib.sh"
mkdir -p errors && cd errors || exit 1

# job DATA MODEL [LOSS] [OPTIMIZER] [MORE LINES]: writes bad.yaml.
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
${5:-}
Y
}
digits='train: {synthetic: {kind: digits, samples: 200}}
  prepare: [{reshape: [784]}, {scale: 1/255}]'
dense='- dense: {units: 10, activation: softmax}'
three='- dense: {units: 3, activation: softmax}'

# go RANKS ARGUMENTS: one rank runs without mpirun; what mpirun adds below a failure is cut off.
go() {
    ranks=$1
    shift
    launch=
    [ "$ranks" = 1 ] || launch="mpirun -np $ranks"
    timeout 60 $launch "$DLTRAIN" "$@" >told 2>whole
    got=$?
    sed '/^-----/,$d' whole >errors
    cat told errors >out # mpirun carries the two apart, in no order
}

# said NAME CODE PATTERN: exit code; the pattern in one line; a last line of ours.
said() {
    if [ $got = "$2" ] && { [ -z "$3" ] || [ "$(grep -cE -e "$3" out)" = 1 ]; } &&
        { [ "$2" = 0 ] || tail -n 1 errors | grep -qE '^dltrain: |^[^ ]+:[0-9]+:[0-9]+: |: [0-9]+ errors?$'; }; then
        ok "$1"
    else
        head -n 8 out | sed 's/^/    /'
        bad "$1" "exit $got, wanted $2 and one line with '$3'"
    fi
}

# fails NAME CODE PATTERN [ARGUMENTS]: bad.yaml on 1 and 2 ranks; nothing is left behind.
fails() {
    name=$1 code=$2 pattern=$3
    shift 3
    for ranks in 1 2; do
        rm -rf runs
        go $ranks bad.yaml "$@"
        said "$name on $ranks" "$code" "$pattern"
        case $code in 2 | 66) [ ! -e runs/bad ] || bad "$name on $ranks" "leaves a folder" ;; esac
    done
}

# The language.
job "$digits" '- dens: {units: 10}';                     fails "unknown layer" 2 "'dens' is not a layer; did you mean 'dense'"
job "$digits" '- dense: {unit: 10}';                     fails "unknown argument" 2 "'unit' is not an argument .* did you mean 'units'"
job "$digits" '- dense: {units: ten}';                   fails "wrong type" 2 "^bad.yaml:5:20: "
job "$digits" '- dense: {units: -3}';                    fails "out of range" 2 "^bad.yaml:5:20: "
job "$digits" '- dense: {units: 10, units: 11}';         fails "duplicate key" 2 "given twice"
job "$digits" '- &a dense: 10';                          fails "anchor" 2 "anchors are not allowed"
job "$digits" "$dense" "" "" "freeze: [*x]";             fails "alias" 2 "quote it: ..x"
job "train: {idx: {x: '\${NOWHERE}/x', y: y}}" "$dense"; fails "unset variable" 2 "NOWHERE is not set"
job "$digits" "$dense" "" "" "checkpoint: {every: 5}";   fails "no unit" 2 "'every' needs a unit; write '5 epochs'"
job "$digits" "$dense" "" "" "comm: {compress: bf16}";   fails "a word to come" 2 "'compress' is not a key"
job "$digits" "$dense";                                  fails "unknown --set path" 2 "did you mean 'optimizer" --set optimiser.adam.learning_rate=1
job "$digits" '- dens: {units: 10}' msee;                fails "all errors at once" 2 "^bad.yaml: 2 errors"

# The network.
terms() { seq 1 "$1" | sed "s/.*/sin($2 * &)/" | paste -sd+; }
job "$digits" "- lambda: \"$(terms 1500 x)\"
  - dense: 10";                                          fails "expression too large" 2 "^bad.yaml:5:13: .*too large for one program"
go 1 plan bad.yaml;                                      said "plan: expression too large" 2 "^bad.yaml:5:13: .*too large for one program"
job "$digits" "- dense: 10
  - lambda: \"$(terms 1000 x)\"";                        fails "derivative too large" 2 "^bad.yaml:6:13: .*too large for one program"
job "$digits" "$dense" "" "{expr: \"w - g * ($(terms 1500 w))\"}"
fails "update too large" 2 "^bad.yaml:7:19: .*too large for one program"

job "$digits" '- {dense: 10, inputs: nowhere}';          fails "unknown input" 2 "neither a layer above nor a field"
job "$digits" '- dense: {units: 5, activation: softmax}'; fails "too few classes" 2 "gives 5 values"
job "$digits" '- conv2d: {filters: 4, kernel_size: 3}';  fails "shapes do not meet" 2 "^bad.yaml:5:"
job "$digits" '- lambda: "x + z"
  - dense: 10';                                          fails "expression" 2 "^bad.yaml:5:13: .*character 5: 'z'"
job "$digits" '- lambda: "x +"
  - dense: 10';                                          fails "expression without an end" 2 "^bad.yaml:5:13: .*character 4"
job "$digits" '- lambda: "x * y"
  - dense: 10' "" "" "constants: {x: 3}";                fails "constant named like an input" 2 "^bad.yaml:12:16: 'x' is a constant and also"
job "$digits" '- dense: {units: 10, activation: {expr: "max(z, 0)"}}'
fails "expression of an activation" 2 "^bad.yaml:5:43: expression of the activation, character 5: 'z'"
job "$digits" "$dense" '{expr: "mean(square(dens))"}'
fails "expression of a loss" 2 "^bad.yaml:6:14: .*character 13: 'dens' is neither a layer nor a field; did you mean 'dense'"
job "$digits" "$dense" '{expr: "y_pred - y_true"}'
fails "loss that is no number" 2 "loss has shape .None, 10., but a loss is one number a sample; wrap it in sum"
job "$digits" "$dense" '{expr: "menn(y_pred)"}';         fails "unknown function" 2 "'menn' is not a function; did you mean 'mean'"
job "$digits" "$dense" "" '{expr: "w - learning_rat * g"}'
fails "expression of an optimizer" 2 "^bad.yaml:7:19: .*character 5: 'learning_rat' .*did you mean 'learning_rate'"
job "$digits" "$dense" "" '{sgd: {schedule: {expr: "epochs / 2"}}}'
fails "expression of a schedule" 2 "^bad.yaml:7:36: .*character 1: 'epochs' .*did you mean 'epoch'"
job "$digits" "$dense" "" "" "callbacks: [{stop_when: \"acuracy > 0.9\"}]"
fails "expression of stop_when" 2 "^bad.yaml:11:25: .*character 1: 'acuracy' is never logged; did you mean 'accuracy'"
job "$digits" "$dense" "" "" "callbacks: [{early_stopping: {monitor: val_loss}}]"
fails "monitor without validation" 2 "'val_loss' is never logged"
job "$digits" "$dense" "" "" "callbacks: [{early_stopping: {monitor: acurracy}}]"
fails "unknown monitor" 2 "'acurracy' is never logged; did you mean 'accuracy'"
job "$digits" "$dense" "" "" "checkpoint: {best: bogus}"; fails "unknown best" 2 "'bogus' is never logged"
job "$digits" "$dense" "" "" "reproducible: any_ranks";  fails "as many ranks as shards" 0 "" --set shards=2
job "$digits" "$dense" "" "" "reproducible: any_ranks
shards: 1"; go 2 bad.yaml; said "more ranks than shards on 2" 2 "2 ranks cannot share 1 shards"

# The data.
table() { printf 'a,b,y\n1,2,0\n3,%s\n5,6,2\n7,8,0\n' "$2" >"$1.csv"; }
csv() { echo "train: {csv: {file: $1.csv, fields: {x: ${2:-[a, b]}, y: y}}}"; }
table good 4,1; table above 4,7; table below 4,-1; table gap ,1; table nan nan,1; table text four,1; table short 4
job "$(csv above)" "$three";                             fails "label above the classes" 2 "labels of train run to 7"
job "$(csv below)" "$three";                             fails "label below 0" 2 "needs labels, whole numbers from 0"
job "$(csv above)
  prepare: [{one_hot: 3, field: y}]" "$three" categorical_crossentropy
fails "label above one_hot" 2 "is 7, outside the 3 classes of one_hot"
job "$(csv good)
  test: {csv: {file: above.csv, fields: {x: [a, b], y: y}}}" "$three"
fails "label above the classes in test" 2 "run to 7"
job "$(csv nan)" "$three";                               fails "NaN in a file" 2 "nan.csv:3:3: a value of field 'x' is unknown"
job "$(csv gap)" "$three";                               fails "empty cell" 2 "gap.csv:3:3: a value of field 'x' is unknown"
job "$(csv text)" "$three";                              fails "text for a number" 2 "text.csv:3:3: 'four' in column 'b' is not a number"
job "$(csv short)" "$three";                             fails "short row" 66 "short.csv:3: this row has 2 cells"
job "$(csv good '[a, c]')" "$three";                     fails "unknown column" 2 "has no column 'c'. It has 3: a, b, y"
job "$(csv good '[0, 5]')" "$three";                     fails "no such column" 2 "has no column 5"
job "train: {csv: {file: good.csv, fields: {x: [a, b]}}}" "$three"; fails "no target" 2 "has no target"
job 'train: {idx: {x: nowhere.gz, y: nothing.gz}}' "$dense"; fails "missing file" 66 "no file .*nowhere.gz"
head -c 100 /dev/urandom >none.idx
job 'train: {idx: {x: none.idx, y: none.idx}}' "$dense"; fails "no IDX file" 66 "none.idx"
printf '\000\000\010\001\000\000\000\012\001\002' >cut.idx
job 'train: {idx: {x: cut.idx, y: cut.idx}}' "$dense";   fails "truncated file" 66 "cut.idx"
printf '\000\000\010\001\000\000\000\002\001\002\003\004' >long.idx
job 'train: {idx: {x: long.idx, y: long.idx}}' "$dense"; fails "over-long file" 66 "long.idx"
few='train: {values: {x: [[1], [2]], y: [0, 1]}}'
job "$few
  test: {from: train, first: 2}" "$dense";               fails "0 samples to train on" 2 "train is left with 0 samples"
job "$few
  validation: {from: train, first: 0}" "$dense";         fails "0 samples in validation" 2 "validation gets 0 samples"
job "$few
  test: {from: train, first: 5}" "$dense";               fails "more than there are" 2 "5 samples are wanted for test"
job "train: {values: {x: [[1], [2], [3]], y: [0, 1]}}" "$dense"; fails "lengths differ" 2 "'y' has 2 samples, but 'x' has 3"

# While it runs.
job "$digits" '- dense: {units: 1}' '{mse: {target: y}}' '{sgd: {learning_rate: 1e30}}'
fails "NaN loss" 1 "loss is (NaN|infinite) at step" --set epochs=50
job "$digits" "$dense";                                  fails "cannot write" 73 "/proc/nowhere" --set output=/proc/nowhere
mkdir -p small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=3m tmpfs small 2>mount_said; then
    job "$digits" '- dense: {units: 300, activation: relu}
  - dense: {units: 10, activation: softmax}' "" "" "checkpoint: {keep: 9}"
    for ranks in 1 2; do
        go $ranks bad.yaml --set output=small --set epochs=9
        said "full disk on $ranks" 73 "cannot write .*No space left"
        go $ranks eval small/bad --set 'evaluate.parts=[train]'
        said "the checkpoint before the disk was full, on $ranks" 0 "^train_loss"
        rm -rf small/bad
    done
    umount small
else
    skip "full disk" "needs root and mount"
fi
long=$(head -c 95 /dev/zero | tr '\0' a)
printf '\0\0\010\002\0\0\0\004\0\0\0\002abcdefgh' >x.idx
printf '\0\0\010\001\0\0\0\004\0\001\0\001' >y.idx
job "train: {idx: {$long: x.idx, y: y.idx}}" "- {dense: {units: 2, activation: softmax}, inputs: $long}"
fails "a field whose name would be cut" 2 "more than 90 characters"

job "$digits" "$dense"
rm -rf runs
timeout 60 "$DLTRAIN" bad.yaml --set epochs=100000 >long 2>&1 &
long=$!
while [ ! -e runs/bad/log.csv ] && kill -0 $long 2>/dev/null; do sleep 0.1; done
for ranks in 1 2; do
    go $ranks bad.yaml --fresh
    said "folder in use on $ranks" 73 "'runs/bad' is in use by another run: process [0-9]+"
done
kill -TERM $long
wait $long
[ $? = 75 ] && grep -q 'stopped by SIGTERM' long && ok "the run in use goes on until it is stopped" || bad "run in use" "$(cat long)"

# The command line.
go 1; said "no job" 2 "which job"
go 1 --nonsense; said "unknown option" 2 "'--nonsense' is not an option"
go 1 --frehs bad.yaml; said "misspelt option" 2 "did you mean '--fresh'"
go 1 bad.yaml --device cuda; said "option of another verb" 2 "--device is for dltrain plan, .*--set device=cuda"
go 1 bad.yaml --rate; said "the benchmark's option" 2 "--rate is for dltrain bench, "
for ranks in 1 2; do
    go $ranks nowhere.yaml; said "no such job on $ranks" 66 "nowhere.yaml"
    go $ranks eval nowhere; said "no such run on $ranks" 66 "'nowhere' is no run"
    go $ranks one two; said "an argument too many on $ranks" 2 "'two' is one argument too many|takes JOB"
done

# An earlier run under the same name: another job is refused, and nothing of it is lost.
rm -rf runs
go 1 bad.yaml; said "first run" 0 "^accuracy [01].*runs/bad$"
sums() { (cd "$1" && find . -type f ! -name .lock -exec cksum {} + | sort); }
sums runs/bad >before
for ranks in 1 2; do
    go $ranks bad.yaml --set optimizer.adam.learning_rate=0.01
    said "another job under the same name on $ranks" 2 "learning_rate was 0.001, is 0.01"
done
job "$digits" '- {dense: 10, inputs: nowhere}'
go 1 bad.yaml --fresh; said "a job that does not fit, --fresh" 2 "neither a layer"
sums runs/bad >after
cmp -s before after && [ ! -e runs/bad.1 ] && ok "nothing of it changed" || bad "nothing of it changed" "files differ"
job "$digits" "$dense"
go 2 bad.yaml --fresh; said "--fresh" 0 "is now 'runs/bad.1'"
sums runs/bad.1 >after
cmp -s before after && ok "the earlier run is aside, whole" || bad "the earlier run is aside, whole" "files differ"
