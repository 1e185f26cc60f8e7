#!/bin/sh
# The books' figures on real data. QUICK=1 runs one seed and one number of ranks of each.
. "$(dirname "$0")/lib.sh"

# reaches NAME VALUE LOW [HIGH]
reaches() {
    if awk -v v="$2" -v lo="$3" -v hi="${4:-2}" 'BEGIN {exit !(v + 0 == v && v >= lo && v <= hi)}'; then
        ok "$1: $2"
    else
        bad "$1" "'$2' is not in $3..${4:-}"
    fi
}

need_data mnist "mnist-mlp" && {
    sum=0
    for seed in 0 1 2; do
        train $((seed % 2 + 1)) "$root/jobs/mnist-mlp.yaml" --fresh --set seed=$seed || cat out
        value=$(status_of runs/mnist-mlp test_accuracy)
        reaches "mnist-mlp, seed $seed, test accuracy" "$value" 0.975
        sum=$(awk "BEGIN {print $sum + ${value:-0}}")
    done
    reaches "mnist-mlp, mean of 3" "$(awk "BEGIN {print $sum / 3}")" 0.977
}
need_data mnist "mnist-convnet" && {
    train 2 "$root/jobs/mnist-convnet.yaml" --fresh || cat out
    reaches "mnist-convnet, test accuracy" "$(status_of runs/mnist-convnet test_accuracy)" 0.989
}
need_data tabular/one_circle.csv "circle" && {
    train 2 "$root/jobs/circle.yaml" --fresh --set repeat=10 || cat out
    reaches "circle, mean accuracy of 10 seeds" "$(status_of runs/circle train_accuracy)" 0.900 0.935
}
need_data tabular/iris.csv "iris2" && {
    train 1 "$root/jobs/iris2.yaml" --fresh || cat out
    reaches "iris2, test accuracy" "$(status_of runs/iris2 test_accuracy)" 0.85
}
# The quick start, without data.
start=$(date +%s)
train 2 "$root/jobs/quickstart.yaml" --fresh || cat out
reaches "quickstart, test accuracy" "$(status_of runs/quickstart test_accuracy)" 0.95
reaches "quickstart, seconds" $(($(date +%s) - start)) 0 60
