#!/bin/sh
# The benchmark on a GPU, one command: dltrain and PyTorch (eager, and compiled) on the same card, in turn in one run;
# prints a table and writes tests/bench/results/DATE-gpu.json. In a bundle it needs nothing but Python with PyTorch.
#   tests/bench/gpu.sh                        every job that begins within --budget seconds, 540 unless told
#   tests/bench/gpu.sh --quick                few short turns, without max-autotune: does every part work?
#   tests/bench/gpu.sh --only fp16            jobs or groups; --help lists them and the other options
# A card that is lent for less than all takes (about 25 minutes; compiling is most of it) is asked in this order, each call
# within --budget and with a file of its own, which is written after each job, so that nothing is lost with the card:
#   --only fp16 --compile none    ResNet-50 at batch 256 and VGG16 at 128: what the framework is for, without what takes
#                      longest; then one by one with it, --only resnet50-fp16, --only vgg16-fp16: the second call on a card
#                      finds in PyTorch's caches what the first has compiled
#   --only small       MNIST MLP, CIFAR CNN, MNIST convnet, float32
#   --only bf16        ResNet-50 and VGG16 once more; then --only small-fp16
# tests/bench/table.py FILE... --readme puts their tables into the README.
# DLTRAIN_GPU_PYTHON=PYTHON      a Python with PyTorch; default python3
# BUILD=FOLDER                   what was built (default build)
# DLTRAIN_DATA=FOLDER            mnist/; without it, made-up files of the same form
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${DLTRAIN_GPU_PYTHON:-python3}
command -v "$python" >/dev/null || { echo "gpu.sh: needs Python with PyTorch: DLTRAIN_GPU_PYTHON=..." >&2; exit 69; }
if [ -x "$root/bin/dltrain" ]; then
    build=$root/bin library=${DLTRAIN_CUDA_LIBRARY:-$root/lib/libdl_cuda.so}
else
    build=$(cd "${BUILD:-$root/build}" && pwd) && library=${DLTRAIN_CUDA_LIBRARY:-$build/libdl_cuda.so}
fi
. "$root/tests/gpu/cuda_path.sh"
if [ -e "$library" ]; then
    found=$(cuda_path "$library") # for dltrain alone: PyTorch finds its own
    DLTRAIN_CUDA_PATH="${LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+${found:+:}}$found"
    export DLTRAIN_CUDA_PATH
fi
export PYTHONDONTWRITEBYTECODE=1
unset GOMP_SPINCOUNT OMP_WAIT_POLICY OMP_NUM_THREADS OMP_PROC_BIND DLTRAIN_THREADS LD_PRELOAD 2>/dev/null || true
exec "$python" -B "$here/gpu.py" --build "$build" "$@"
