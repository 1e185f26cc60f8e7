#!/bin/sh
# Every job on paper for GPUs that are not here, its step and its evaluation: each row has a kernel, cuDNN's heuristics
# find an engine for each convolution and its plan finalises, NVRTC compiles the elementwise programs, none of them from
# a cache. All jobs for sm_80, sm_90 and sm_100, in half precision for sm_90 and, of ImageNet's, for all.
. "$(dirname "$0")/lib.sh"

[ -e "${BUILD:-$root/build}/libdl_cuda.so" ] || {
    skip "plans for CUDA" "libdl_cuda.so is not built"
    exit 0
}
plans=0 failed=0

# plan NAME CARD JOB OPTIONS...
plan() {
    what="plan of $1 for $2"
    device=$2
    job=$3
    shift 3
    rm -rf cache
    DLTRAIN_CACHE=$PWD/cache DLTRAIN_DATA=$DATA timeout 200 "$DLTRAIN" plan --device "$device" "$job" --graph "$@" \
        >plan.out 2>plan.error
    status=$?
    plans=$((plans + 1))
    convolutions=$(grep -cE '= conv' plan.out)
    engines=$(grep -cE '^kernel .* conv.*: cuDNN engine [0-9]' plan.out)
    if [ $status -ne 0 ]; then
        why="exit $status: $(tail -c 400 plan.error)"
    elif [ "$convolutions" -gt 0 ] && [ "$engines" = 0 ]; then
        why="no engine is told for its convolutions"
    else
        return 0
    fi
    bad "$what" "$why"
    failed=$((failed + 1))
}

# one_kernel COUNT ROW: so many of the row in the plan that was made last are one kernel of cuDNN; what is made again
# does not count.
one_kernel() {
    found=$(grep -E "^kernel %[0-9]+ $2: cuDNN engine" plan.out | grep -cv ', again$')
    [ "$found" -eq "$1" ] && ok "$2, $1 times one kernel" || bad "$2, $1 times one kernel" "$found times"
}

# rows COUNT ROW: so many of the row in the plan that was made last.
rows() {
    found=$(grep -cE " = $2 " plan.out)
    [ "$found" -eq "$1" ] && ok "$2, $1 times" || bad "$2, $1 times" "$found times"
}

# moves TENTHS: what the step of the plan that was made last reads and writes is at most so many tenths of a GB.
moves() {
    found=$(sed -nE 's/.* read and write ([0-9]+)\.([0-9]).* GB or more$/\1\2/p' plan.out)
    what="a step moves at most $(($1 / 10)).$(($1 % 10)) GB"
    [ -n "$found" ] && [ "$found" -le "$1" ] && ok "$what" || bad "$what" "${found:-no} tenths of a GB"
}

# at_most NUMBER LABEL FIELD WHAT: that number of the line so labelled in the plan that was made last.
at_most() {
    found=$(awk -v label="$2" -v field="$3" '$1 == label { print $field }' plan.out)
    awk -v found="$found" -v most="$1" 'BEGIN { exit !(found > 0 && found <= most) }' &&
        ok "$4: at most $1" || bad "$4: at most $1" "'$found'"
}

# The plans of every second job, a line for all of a job.
half() { # 0 or 1
    WORK=$PWD/half-$1 count=0
    mkdir "$WORK" && cd "$WORK" || exit 1
    for job in "$root"/jobs/*.yaml; do
        count=$((count + 1))
        [ $((count % 2)) = "$1" ] || continue
        name=${job##*/}
        name=${name%.yaml}
        data_of "$job" "$name" || continue
        first=$plans failed=0
        for card in 80 90 100; do
            plan "$name" cuda:sm_$card "$job"
            case $name$card in *-imagenet* | *90) ;; *) continue ;; esac
            for precision in bf16 fp16; do
                plan "$name, $precision," cuda:sm_$card "$job" --set precision=$precision
            done
        done
        case $name in # as tests/bench/gpu.sh has them
        resnet50-imagenet) batch=256 ;;
        vgg16-imagenet) batch=128 ;;
        *) batch= ;;
        esac
        for precision in ${batch:+bf16 fp16}; do
            plan "$name, $precision, $batch samples," cuda:sm_90 "$job" --set precision=$precision \
                --set batch_size=$batch --set data.train.synthetic.samples=$batch
        done
        [ $failed -gt 0 ] || ok "$((plans - first)) plans of $name, in the last $(grep -c '^kernel ' plan.out) kernels, $engines engines for $convolutions convolutions"
        [ "$name" = resnet50-imagenet ] || continue
        # All convolutions but that of the image's three channels; in each of 16 blocks two normalisations lie
        # between convolutions.
        one_kernel 52 conv_statistics
        one_kernel 32 conv_norm_weight_gradient
        one_kernel 32 conv_norm_input_gradient
        # Where 16 blocks meet their shortcuts; what comes back to the last is broadcast.
        rows 15 residual
        rows 15 residual_sums
        rows 1 norm_pool
        rows 1 norm_pool_sums
        rows 1 norm_pool_input_gradient
        moves 793
        # What lives at the worst moment is what the backward pass needs, less what it makes again for 6 % of the
        # bytes moved.
        at_most 6250 total 2 "MiB of memory for 256 images in fp16"
    done
    [ $plans -gt 0 ] || bad "plans for CUDA" "no jobs"
}

half 0 >even &
even=$!
half 1 >odd &
odd=$!
wait $even || bad "plans of every second job" "their shell ended with $?"
wait $odd || bad "plans of the other jobs" "their shell ended with $?"
cat even odd

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
