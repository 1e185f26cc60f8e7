#!/bin/sh
# The books' figures on real data, with 1, 2, 3 and 4 ranks. The short form, which tests/run.sh runs, takes a
# few minutes on 2 cores; ACCURACY=full, by hand, trains every seed and every job that has a figure:
#   ACCURACY=full DLTRAIN_DATA=FOLDER sh tests/runs/accuracy.sh
# ACCURACY=none trains the quick start alone, for one epoch.
. "$(dirname "$0")/lib.sh"
full=
[ "${ACCURACY:-}" = full ] && full=yes

# reaches NAME VALUE LOW [HIGH]
reaches() {
    if awk -v v="$2" -v lo="$3" -v hi="${4:-1e30}" 'BEGIN {exit !(v + 0 == v && v >= lo && v <= hi)}'; then
        ok "$1: $2"
    else
        bad "$1" "'$2' is not in $3..${4:-}"
    fi
}

# measure RANKS JOB KEY ARGUMENTS...: trains anew; the value of KEY is left in $value.
measure() {
    on=$1 job=$2 key=$3
    shift 3
    train "$on" "$root/jobs/$job.yaml" --fresh "$@" || tail -n 5 out
    value=$(status_of "runs/$job" "$key")
}

# seeds JOB LOW LOW-OF-THE-MEAN FIRST RANKS...: a seed for each number of ranks, from FIRST on.
seeds() {
    job=$1 low=$2 low_mean=$3 seed=$4 sum=0
    shift 4
    for on; do
        measure "$on" "$job" test_accuracy --set seed=$seed
        reaches "$job, seed $seed on $on ranks, test accuracy" "$value" "$low"
        sum=$(awk "BEGIN {print $sum + ${value:-0}}")
        seed=$((seed + 1))
    done
    reaches "$job, mean of $#" "$(awk "BEGIN {print $sum / $#}")" "$low_mean"
}

[ "${ACCURACY:-}" = none ] && { # sanitizers: too slow for figures
    measure 2 quickstart test_accuracy --set epochs=1
    reaches "quickstart, one epoch, test accuracy" "$value" 0.8
    exit
}

need_data mnist "mnist-mlp" && {
    seeds mnist-mlp 0.975 0.977 0 2 1 4
    if [ $full ]; then
        seeds mnist-mlp 0.975 0.977 0 1 1 1
        seeds mnist-mlp 0.975 0.977 0 3 3 3
    fi
}
need_data mnist "mnist-convnet" && {
    if [ $full ]; then
        seeds mnist-convnet 0.989 0.990 1 2 1 3
    else
        measure 2 mnist-convnet test_accuracy
        reaches "mnist-convnet, test accuracy" "$value" 0.989
    fi
}
need_data tabular/one_circle.csv "circle" && {
    measure 2 circle train_accuracy --set repeat=10
    reaches "circle, mean accuracy of 10 seeds" "$value" 0.900 0.935
}
need_data tabular/iris.csv "iris2" && {
    measure 1 iris2 test_accuracy
    reaches "iris2, test accuracy on 1 rank (all 23 flowers)" "$value" 1
    measure 3 iris2 test_accuracy
    reaches "iris2, test accuracy on 3 ranks" "$value" 0.95
    measure 1 iris2 test_accuracy --set data.seed=0 --set 'repeat={times: 10, seeds: data}'
    reaches "iris2, mean of 10 ways to draw the test flowers" "$value" 0.92 0.98
}
need_data tabular/Hyderabad.csv "hyderabad" && {
    measure 2 hyderabad train_root_mean_squared_error
    reaches "hyderabad, root mean squared error (book: 4,768,139)" "$value" 4000000 5300000
}
measure 2 alien-perceptrons test_accuracy
reaches "alien-perceptrons, the network set by hand" "$value" 1
[ $full ] && need_data mnist "mnist-cnn-experiments" && {
    measure 2 mnist-cnn-experiments test_accuracy
    reaches "mnist-cnn-experiments (book: 0.927)" "$value" 0.907 0.947
}

# The quick start, without data.
start=$(date +%s)
measure 2 quickstart test_accuracy
reaches "quickstart, test accuracy" "$value" 0.95
reaches "quickstart, seconds" $(($(date +%s) - start)) 0 60
