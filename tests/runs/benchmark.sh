#!/bin/sh
# The benchmark's programs measure what they say: the bare kernels of a small job are those that its layers ask for,
# sums and loaders give figures. The benchmark itself (tests/bench/run.sh) needs Python and a quiet machine.
. "$(dirname "$0")/lib.sh"

# quickstart: conv forward, weights (2 each), data (not of the first); pooling forward and back (2 each); dense 3.
name="the floor of quickstart has the kernels of its layers"
for ranks in 1 2; do
    echo 0.01 | timeout 120 "$BUILD/bench_floor" "$root/jobs/quickstart.yaml" -- 0 $ranks 1 fp32 >floor 2>&1
    # 2 * batch * (26*26*16*9 + 11*11*32*16*9 + 800*10) multiplications and additions forward
    gflop=$(awk -v n=$((64 / ranks)) 'BEGIN {
        a = 2 * n * 26 * 26 * 16 * 9; b = 2 * n * 11 * 11 * 32 * 16 * 9; c = 2 * n * 800 * 10
        printf "%.6f", (2 * a + 3 * b + 3 * c) / 1e9 }')
    if grep -q "\"kernels\": 12, \"gflop\": $gflop," floor && grep -q '"passes": [1-9].*"pool_backward": ' floor; then
        ok "$name, $ranks ranks"
    else
        bad "$name, $ranks ranks" "not 12 kernels of $gflop GFLOP: $(cat floor)"
    fi
done

name="sums are timed beside MPI's"
timeout 120 mpirun -np 2 "$BUILD/bench_sums" 1000 3 >sums 2>&1
if grep -q '"bytes": 4000, "dltrain_ms": \[[0-9., ]*\], "mpi_ms": \[[0-9., ]*\]' sums; then
    ok "$name"
else
    bad "$name" "$(cat sums)"
fi

name="loaders are timed beside a plain read"
printf '\000\000\010\001\000\000\000\004\003\002\001\000' >y # IDX of 4 bytes
cat >loader.yaml <<END
data: {train: {idx: {x: y, y: y}}}
model: [{dense: {units: 4}}]
loss: sparse_categorical_crossentropy
optimizer: sgd
batch_size: 2
epochs: 1
END
timeout 60 "$BUILD/bench_loader" loader.yaml 2 y >loader 2>&1
if grep -q '"samples": 4, "bytes": 12, "batch": 2, "file_order_s": \[[0-9., ]*\]' loader; then
    ok "$name"
else
    bad "$name" "$(cat loader)"
fi
