#!/bin/sh
# Whole jobs on a host that plays a GPU (tests/shim): the code of libdl_cuda.so runs the steps, with sums over ranks
# staged through the host. Metrics are the CPU's within what sums in another order explain, and the same from run to
# run.
. "$(dirname "$0")/lib.sh"
mkdir -p shim && cd shim || exit 1
library=${BUILD:-$root/build}/libdl_cuda_shim.so
if [ ! -r "$library" ]; then
    skip "jobs on the device of the shim" "libdl_cuda_shim.so is not built"
    exit 0
fi
export DLTRAIN_THREADS=1

# column FILE NAME: the last line's value.
column() {
    awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        END { print $at }' "$1"
}

close() {
    awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN { d = a - b; if (d < 0) d = -d
        exit !(a != "" && b != "" && a == a + 0 && b == b + 0 && d <= most) }'
}

# compare JOB RANKS: 20 steps on the CPU and on the device.
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
        close "$here" "$there" 0.003 || { bad "$what" "$metric is '$there', on the CPU '$here'"; return; }
    done
    ok "$what, as on the CPU: accuracy $there"
}

if need_data mnist "jobs on the device of the shim"; then
    for ranks in 1 2; do
        compare mnist-mlp $ranks
        compare mnist-convnet $ranks
    done
fi
