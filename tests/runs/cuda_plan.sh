#!/bin/sh
# Every job on paper for GPUs that are not here: cuDNN's heuristics find an engine for each convolution, NVRTC
# compiles the elementwise programs. Rows that have no CUDA kernel yet are told of, and are all that may be missing.
. "$(dirname "$0")/lib.sh"

[ -e "${BUILD:-$root/build}/libdl_cuda.so" ] || {
    skip "plans for CUDA" "libdl_cuda.so is not built"
    exit 0
}

# plan NAME DEVICE JOB OPTIONS...
plan() {
    what="plan of $1 for $2"
    device=$2
    job=$3
    shift 3
    DLTRAIN_DATA=$DATA timeout 100 "$DLTRAIN" plan --device "$device" "$job" --graph "$@" >plan.out 2>plan.error
    status=$?
    missing=$(sed -n 's/^\(dltrain:\)\{0,1\} *\([a-z_]*\) of .* has no kernel for cuda:.*/\2/p' plan.error | sort -u | tr '\n' ' ')
    if [ $status -eq 69 ] && [ -n "$missing" ] && ! grep -qv 'has no kernel for cuda:' plan.error; then
        skip "$what" "rows without a kernel: $missing"
    elif [ $status -ne 0 ]; then
        bad "$what" "exit $status: $(tail -c 400 plan.error)"
    elif grep -qE '= conv( |_)' plan.out && ! grep -qE '^kernel .* conv.*: cuDNN engine [0-9]' plan.out; then
        bad "$what" "no engine is told for its convolutions"
    else
        ok "$what"
    fi
}

planned=0
for job in "$root"/jobs/*.yaml; do
    name=${job##*/}
    name=${name%.yaml}
    data_of "$job" "$name" || continue
    planned=$((planned + 1))
    plan "$name" cuda:sm_90 "$job"
    grep -qE 'conv2d|resnet|vgg' "$job" || continue
    plan "$name" cuda:sm_80 "$job"
    plan "$name" cuda:sm_100 "$job"
    case $name in
    *-imagenet)
        for card in 80 90 100; do plan "$name, bf16," cuda:sm_$card "$job" --set precision=bf16; done
        plan "$name, fp16," cuda:sm_90 "$job" --set precision=fp16
        ;;
    esac
done
[ "$planned" -gt 0 ] || bad "plans for CUDA" "no jobs"

for device in cuda:sm_70 cuda:sm_ cuda cuda:sm_90x; do
    "$DLTRAIN" plan --device $device "$root/jobs/quickstart.yaml" >plan.out 2>plan.error
    status=$?
    if [ $status -eq 2 ] && grep -q 'cuda:sm_NN' plan.error; then
        ok "--device $device is refused"
    else
        bad "--device $device" "exit $status: $(cat plan.error)"
    fi
done

# Turing has no bfloat16 (tests/unit/test_cudnn.c has what a row without an engine says).
"$DLTRAIN" plan --device cuda:sm_75 "$root/jobs/quickstart.yaml" --set precision=bf16 >plan.out 2>plan.error
status=$?
if [ $status -eq 69 ] && grep -q "bf16 needs compute capability 8.0" plan.error; then
    ok "bfloat16 on a card without it"
else
    bad "bfloat16 on a card without it" "exit $status: $(cat plan.error)"
fi
