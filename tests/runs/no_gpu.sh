#!/bin/sh
# Where no GPU can be used, `device: cuda` ends with exit 69 and says which reason it is, and `auto` runs on the CPU and
# says so once, on 1 and 2 ranks. The reasons are played by tests/shim; that no driver is here is the real library's.
. "$(dirname "$0")/lib.sh"
mkdir -p no_gpu && cd no_gpu || exit 1
shim=${BUILD:-$root/build}/libdl_cuda_shim.so
real=${BUILD:-$root/build}/libdl_cuda.so
export DLTRAIN_THREADS=1
sed 's/samples: 12000/samples: 200/; s/first: 2000/first: 100/; s/^epochs: 4/epochs: 1/' \
    "$root/jobs/quickstart.yaml" >short.yaml

# go RANKS LIBRARY DEVICE ENVIRONMENT...
go() {
    ranks=$1 library=$2 device=$3
    shift 3
    rm -rf runs
    launch=
    [ "$ranks" = 1 ] || launch="mpirun -np $ranks"
    env "DLTRAIN_CUDA_LIBRARY=$library" "$@" timeout 100 $launch "$DLTRAIN" short.yaml --set device="$device" \
        --set precision="$precision" >out 2>whole
    status=$?
    sed '/^-----/,$d' whole >errors # what mpirun adds to a failure
}

# refused REASON LIBRARY PATTERN ENVIRONMENT...
refused() {
    reason=$1 library=$2 pattern=$3
    shift 3
    for ranks in 1 2; do
        go $ranks "$library" cuda "$@"
        what="device: cuda, $reason, $ranks ranks"
        if [ $status = 69 ] && [ "$(grep -cE "$pattern" errors)" = 1 ] && [ ! -e runs ]; then
            ok "$what"
        else
            bad "$what" "exit $status, wanted 69 and once '$pattern': $(tail -n 3 errors)"
        fi
        [ "$precision" = fp32 ] || continue
        go $ranks "$library" auto "$@"
        what="device: auto, $reason, $ranks ranks"
        if [ $status = 0 ] && [ "$(grep -cE "^warning: device: auto runs on the CPU: .*$pattern" errors)" = 1 ] &&
            [ "$(grep -c 'auto runs on' errors)" = 1 ]; then
            ok "$what"
        else
            bad "$what" "exit $status, wanted 0 and a warning with '$pattern': $(tail -n 3 errors)"
        fi
    done
}

precision=fp32
refused "the library is absent" "$PWD/libdl_cuda.so" 'no GPU can be used: .*libdl_cuda.so: cannot open .*say device: cpu'
if [ ! -r "$real" ]; then
    skip "device: cuda, no driver, as the real library has it" "libdl_cuda.so is not built"
elif nvidia-smi >/dev/null 2>&1; then
    skip "device: cuda, no driver, as the real library has it" "there is a driver"
else
    refused "no driver, as the real library has it" "$real" 'there is no NVIDIA driver here; install it'
fi
if [ ! -r "$shim" ]; then
    skip "device: cuda where the machine is played" "libdl_cuda_shim.so is not built"
    exit 0
fi
refused "no driver" "$shim" 'there is no NVIDIA driver here; install it' SHIM_DRIVER=0
refused "the driver is too old" "$shim" 'the driver serves CUDA 12.4, dltrain is built with 13.0; install a newer' SHIM_DRIVER=12040
refused "no visible device" "$shim" 'no CUDA-capable device is detected; look at .*CUDA_VISIBLE_DEVICES' CUDA_VISIBLE_DEVICES=
refused "the GPU is too old" "$shim" 'sm_70, .*compute capability 7.5 .* is the least' SHIM_CAPABILITY=70
precision=bf16
refused "no bfloat16 on it" "$shim" 'precision: bf16 needs compute capability 8.0 .*sm_75.*set precision: fp16' SHIM_CAPABILITY=75
precision=fp16
go 1 "$shim" cpu
if [ $status = 69 ] && grep -q 'precision: fp16 needs a GPU' errors; then
    ok "precision: fp16 without a GPU"
else
    bad "precision: fp16 without a GPU" "exit $status: $(tail -n 3 errors)"
fi

# What a CPU run opens: neither the library nor anything of CUDA, though it is there. LD_DEBUG names all files.
precision=fp32
for device in auto cpu; do
    rm -f opened.*
    go 1 "$shim" $device LD_DEBUG=files LD_DEBUG_OUTPUT="$PWD/opened"
    opened=$(cat opened.* 2>/dev/null | grep -ciE 'libdl_cuda|libcuda|libcudnn|libcublas|libnccl|libnvrtc')
    case $device in
    auto) what="device: auto opens the CUDA library" least=1 most=1000 ;;
    cpu) what="device: cpu opens nothing of CUDA" least=0 most=0 ;;
    esac
    if [ $status = 0 ] && [ -n "$(ls opened.*)" ] && [ "$opened" -ge $least ] && [ "$opened" -le $most ]; then
        ok "$what"
    else
        bad "$what" "exit $status, $opened times"
    fi
done
