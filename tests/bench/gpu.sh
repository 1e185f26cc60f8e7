#!/bin/sh
# The benchmark on a GPU, one command: dltrain and PyTorch (eager, and compiled) on the same card, in turn in one run;
# prints a table and writes tests/bench/results/DATE-gpu.json. In a bundle it needs nothing but Python with PyTorch.
#   tests/bench/gpu.sh                        everything, about 25 minutes: compiling is most of it
#   tests/bench/gpu.sh --quick                few short turns, without max-autotune: does every part work?
#   tests/bench/gpu.sh --only mlp,resnet50-fp16   these jobs; --help lists them and the other options
# DLTRAIN_GPU_PYTHON=PYTHON      a Python with PyTorch; default python3
# BUILD=FOLDER                   what was built (default build)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${DLTRAIN_GPU_PYTHON:-python3}
command -v "$python" >/dev/null || { echo "gpu.sh: needs Python with PyTorch: DLTRAIN_GPU_PYTHON=..." >&2; exit 69; }
if [ -x "$root/bin/dltrain" ]; then
    build=$root/bin library=$root/lib/libdl_cuda.so
else
    build=$(cd "${BUILD:-$root/build}" && pwd) && library=$build/libdl_cuda.so
fi
. "$root/tests/gpu/cuda_path.sh"
if [ -e "$library" ]; then
    found=$(cuda_path "$library") # for dltrain alone: PyTorch finds its own
    export DLTRAIN_CUDA_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$found"
fi
export PYTHONDONTWRITEBYTECODE=1
unset GOMP_SPINCOUNT OMP_WAIT_POLICY OMP_NUM_THREADS OMP_PROC_BIND DLTRAIN_THREADS LD_PRELOAD 2>/dev/null || true
exec "$python" -B "$here/gpu.py" --build "$build" "$@"
