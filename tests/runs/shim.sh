#!/bin/sh
# Whole jobs on a host that plays a GPU (tests/shim): the code of libdl_cuda.so runs the steps, with sums over ranks
# staged through the host where they share a GPU. Metrics are the CPU's within what sums in another order explain, and
# the same from run to run. A sum of n float32 products in another order moves by n / 2^24 of its terms at most; what
# roundings move, and what updates make of it, is measured, beside what is allowed.
. "$(dirname "$0")/lib.sh"
mkdir -p shim && cd shim || exit 1
library=${BUILD:-$root/build}/libdl_cuda_shim.so
if [ ! -r "$library" ]; then
    skip "jobs on the device of the shim" "libdl_cuda_shim.so is not built"
    exit 0
fi
export DLTRAIN_THREADS=1

# column FILE NAME [EPOCH]: the value of the epoch, the first is 0, else of the last line.
column() {
    awk -F, -v name="$2" -v epoch="${3:-}" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        NR > 1 && (epoch == "" || $1 == epoch) { found = $at }
        END { print found }' "$1"
}

close() {
    awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN { d = a - b; if (d < 0) d = -d
        exit !(a != "" && b != "" && a == a + 0 && b == b + 0 && d <= most) }'
}

# compare JOB RANKS: 20 steps on the CPU and on the device. The MLP adds 784 and 512 products up to the loss, the convnet
# 9, 288, 576, 576 and 64: 1e-4 of a loss of about 1 (measured: 4e-7). Of 1,280 samples or more two may fall between
# classes so near.
compare() {
    what="$1 on $2 ranks: 20 steps"
    short="--set epochs=none --set steps=20"
    name=$1-$2
    train "$2" "$root/jobs/$1.yaml" --fresh --set device=cpu --set name="$name-cpu" $short ||
        { cat "$WORK/out"; bad "$what, on the CPU" "exit $?"; return; }
    for run in once again; do
        DLTRAIN_CUDA_LIBRARY=$library train "$2" "$root/jobs/$1.yaml" --fresh --set device=cuda \
            --set name="$name-$run" $short || { cat "$WORK/out"; bad "$what, on the device" "exit $?"; return; }
    done
    cmp "runs/$name-once/log.csv" "runs/$name-again/log.csv" &&
        cmp "runs/$name-once/model.h5" "runs/$name-again/model.h5" || { bad "$what, twice" "bits differ"; return; }
    for metric in loss accuracy; do
        here=$(column "runs/$name-cpu/log.csv" $metric)
        there=$(column "runs/$name-once/log.csv" $metric)
        case $metric in loss) within=0.0001 ;; *) within=0.0016 ;; esac
        close "$here" "$there" $within || { bad "$what" "$metric is '$there', on the CPU '$here'"; return; }
    done
    ok "$what, as on the CPU: accuracy $there"
}

sed 's/samples: 12000/samples: 840/; s/first: 2000/first: 200/; s/^epochs: 4/epochs: 8/' \
    "$root/jobs/quickstart.yaml" >short.yaml
# short DEVICE NAME ARGUMENTS...
short() {
    device=$1 name=$2
    shift 2
    DLTRAIN_CUDA_LIBRARY=$library timeout 300 "$DLTRAIN" short.yaml --set device="$device" --set name="$name" "$@" \
        >"$name.out" 2>&1
}

# Steps 11 to 20, in which the loss falls from 2.302 to 2.247. In fp32 9, 144 and 800 products are added up to it: 6e-5 of
# it (measured: 3e-6). Of what is rounded to half 1e-3 (measured: 1.4e-4 in bf16, 9e-5 in fp16). Adam divides a gradient
# by its size, so that small differences grow some three times an epoch: of the last of eight epochs
# 0.02 (measured: 0.0005, 0.0018 and 0.0011).
short cpu in-fp32 || bad "quickstart on the CPU" "$(tail -n 1 in-fp32.out)"
for setting in "fp32 0.00014" "bf16 0.001" "fp16 0.001"; do
    precision=${setting% *}
    what="quickstart on the device in $precision"
    short cuda in-$precision-there --set precision=$precision || { bad "$what" "$(tail -n 1 in-$precision-there.out)"; continue; }
    here=$(column runs/in-fp32/log.csv loss 1) there=$(column runs/in-$precision-there/log.csv loss 1)
    if ! close "$here" "$there" "${setting#* }"; then
        bad "$what" "loss of epoch 1 '$there', on the CPU '$here'"
        continue
    fi
    here=$(column runs/in-fp32/log.csv loss) there=$(column runs/in-$precision-there/log.csv loss)
    if close "$here" "$there" 0.02; then
        ok "$what: loss $there, on the CPU $here"
    else
        bad "$what" "loss '$there', on the CPU '$here'"
    fi
done

# Two bottleneck blocks and one of a single convolution: convolutions beside batch normalisations, and the sums where
# blocks meet, which the device takes together. To the loss some 520 products are added and, in nine normalisations,
# sums in pieces of 260 terms: 2,900 / 2^24 of a loss of 2.56, 4e-4 (measured: 3e-8); in half 0.002 (measured: 4e-5 in
# bf16, 5e-4 in fp16, in which cuDNN rounds scale and bias of normalisations, too).
sed '/^model:/,/^loss:/d' short.yaml >residual.yaml
cat >>residual.yaml <<'END'
loss: sparse_categorical_crossentropy
model:
  - {conv2d: {filters: 16, kernel_size: 3, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - {max_pooling2d: 2, name: block}
  - {conv2d: {filters: 8, kernel_size: 1, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - {conv2d: {filters: 8, kernel_size: 3, padding: same, use_bias: false}}
  - batch_normalization
  - {activation: relu}
  - {conv2d: {filters: 16, kernel_size: 1, use_bias: false}}
  - {batch_normalization, name: one}
  - {add, inputs: [block, one]}
  - {activation: relu, name: out}
  - {conv2d: {filters: 8, kernel_size: 1, strides: 2, use_bias: false}}
  - {batch_normalization: {scale: false}}
  - {activation: relu}
  - {conv2d: {filters: 8, kernel_size: 3, padding: same, use_bias: false}}
  - {batch_normalization: {center: false}}
  - {activation: relu}
  - {conv2d: {filters: 32, kernel_size: 1, use_bias: false}}
  - {batch_normalization, name: two}
  - {conv2d: {filters: 32, kernel_size: 1, strides: 2, use_bias: false}, inputs: out}
  - {batch_normalization, name: beside}
  - {add, inputs: [two, beside]}
  - {activation: relu, name: wide}
  - {conv2d: {filters: 32, kernel_size: 3, padding: same, use_bias: false}}
  - {batch_normalization, name: three}
  - {add, inputs: [wide, three]}
  - {activation: relu}
  - global_average_pooling2d
  - dense: {units: 10, activation: softmax}
END
residual() {
    device=$1 name=$2
    shift 2
    DLTRAIN_CUDA_LIBRARY=$library timeout 300 "$DLTRAIN" residual.yaml --set device="$device" --set name="$name" "$@" \
        --set epochs=none --set steps=10 >"$name.out" 2>&1
}
residual cpu residual-cpu || bad "bottleneck blocks on the CPU" "$(tail -n 1 residual-cpu.out)"
for setting in "fp32 0.0004" "bf16 0.002" "fp16 0.002"; do
    precision=${setting% *}
    what="bottleneck blocks on the device in $precision"
    residual cuda residual-$precision --set precision=$precision || { bad "$what" "$(tail -n 1 residual-$precision.out)"; continue; }
    here=$(column runs/residual-cpu/log.csv loss) there=$(column runs/residual-$precision/log.csv loss)
    if close "$here" "$there" "${setting#* }"; then
        ok "$what: loss $there, on the CPU $here"
    else
        bad "$what" "loss '$there', on the CPU '$here'"
    fi
done

# Several steps in a launch change nothing: not with an odd number of them, two evaluations, a last batch that is
# smaller.
for together in 1 5; do
    short cuda together-$together --set steps_per_execution=$together
    if cmp -s runs/together-$together/model.h5 runs/in-fp32-there/model.h5 &&
        cmp -s runs/together-$together/log.csv runs/in-fp32-there/log.csv; then
        ok "$together steps in a launch have the bits of as many as is usual"
    else
        bad "$together steps in a launch have the bits of as many as is usual" "$(tail -n 1 together-$together.out)"
    fi
done

# Samples that are streamed are those that lie on the device.
short cuda streamed --set data.on_device=never
if cmp -s runs/streamed/model.h5 runs/in-fp32-there/model.h5 && cmp -s runs/streamed/log.csv runs/in-fp32-there/log.csv; then
    ok "samples that are streamed give the bits of those on the device"
else
    bad "samples that are streamed give the bits of those on the device" "$(tail -n 1 streamed.out)"
fi

# A run that is stopped there goes on to the bits of one that was not.
DLTRAIN_CUDA_LIBRARY=$library "$DLTRAIN" short.yaml --set device=cuda --set name=stopped >stopped.out 2>&1 &
run=$!
for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q '^Epoch 2/' stopped.out && break
    sleep 0.5
done
kill -TERM $run
wait $run
status=$?
short cuda stopped
if [ $status -eq 75 ] && cmp -s runs/stopped/model.h5 runs/in-fp32-there/model.h5; then
    ok "a run stopped on the device goes on to the same bits"
else
    bad "a run stopped on the device goes on to the same bits" "exit $status, $(tail -n 1 stopped.out)"
fi

# What was begun on one goes on on the other: a CPU, the device, another card, for which kernels are chosen anew, and
# that is said. `cut` leaves what there was after seven of the eight epochs.
cut() {
    rm -rf "runs/$1/checkpoints/$(ls "runs/$1/checkpoints" | grep '^step-' | sort | tail -n 1)" "runs/$1/status.json" \
        "runs/$1/model.h5"
}
# moved WHAT NAME: it has done the last epoch alone, to the loss of the CPU's run, of which a run there is 0.0005 off.
moved() {
    here=$(column runs/in-fp32/log.csv loss) there=$(column "runs/$2/log.csv" loss)
    if grep -q '^Epoch 8/8' "$2.out" && ! grep -q '^Epoch 7/8' "$2.out" && close "$here" "$there" 0.003; then
        ok "$1: loss $there, on the CPU $here"
    else
        bad "$1" "loss '$there', on the CPU '$here'; $(tail -n 1 "$2.out")"
    fi
}
short cpu to-device && cut to-device && short cuda to-device
moved "a CPU's checkpoint on the device" to-device
short cuda to-cpu && cut to-cpu && short cpu to-cpu
moved "the device's checkpoint on a CPU" to-cpu
for kernels in heuristic timed; do
    short cuda card-$kernels --set kernels=$kernels && cut card-$kernels
    SHIM_CAPABILITY=80 short cuda card-$kernels --set kernels=$kernels
    moved "another card goes on, kernels $kernels" card-$kernels
    if [ "$(grep -c 'kernel choices for another card .* are made anew' card-$kernels.out)" = 1 ] &&
        grep -q 'sm_80' runs/card-$kernels/kernels.txt; then
        ok "it chooses its own, and says so, kernels $kernels"
    else
        bad "it chooses its own, and says so, kernels $kernels" "$(head -n 3 card-$kernels.out)"
    fi
done

# Under any_ranks: with a GPU for each rank (whose streams overtake each other), with one for all. The first is held
# against the CPU, as above, the others against the first.
reference=none
short cpu any-cpu --set epochs=2 --set reproducible=any_ranks || bad "any_ranks on the CPU" "$(tail -n 1 any-cpu.out)"
for setting in "1 1 late" "2 2 early" "3 3 7" "3 1 late"; do
    set -- $setting
    what="any_ranks on $1 ranks with $2 GPUs"
    DLTRAIN_CUDA_LIBRARY=$library SHIM_GPUS=$2 SHIM_ORDER=$3 train "$1" "$PWD/short.yaml" --set device=cuda --set epochs=2 \
        --set reproducible=any_ranks --set "comm.first_bucket=1 KiB" --set "comm.bucket=4 KiB" --set name="any-$1-$2" ||
        { bad "$what" "$(tail -n 1 "$WORK/out")"; continue; }
    said=$(grep -c "ranks share a GPU" "$WORK/out")
    if [ "$said" -ne $(($1 > $2)) ]; then
        bad "$what" "told $said times that ranks share a GPU"
    elif [ $reference = none ]; then
        reference=runs/any-$1-$2/model.h5
        here=$(column runs/any-cpu/log.csv loss) there=$(column "runs/any-$1-$2/log.csv" loss)
        close "$here" "$there" 0.00014 && ok "$what: loss $there, on the CPU $here" ||
            bad "$what" "loss '$there', on the CPU '$here'"
    elif ! cmp -s "$reference" "runs/any-$1-$2/model.h5"; then
        bad "$what: the same bits" "they differ"
    else
        ok "$what: the same bits"
    fi
done

if need_data mnist "jobs on the device of the shim"; then
    for ranks in 1 2; do
        compare mnist-mlp $ranks
        if [ "${ACCURACY:-}" = none ]; then
            skip "mnist-convnet on $ranks ranks" "takes too long with sanitizers; smaller jobs have its rows"
        else
            compare mnist-convnet $ranks
        fi
    done
fi
