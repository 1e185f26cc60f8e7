#!/bin/sh
# The benchmark, one command: builds, measures dltrain against the bare library kernels and against PyTorch, in turn in
# one run, prints a table and writes tests/bench/results/DATE.json. On 2 cores about 20 minutes.
#   tests/bench/run.sh                      everything
#   tests/bench/run.sh --quick              few short turns: does every part work?
#   tests/bench/run.sh --only mlp,convnet   these parts; --help lists them and the other options
# DLTRAIN_DATA=FOLDER            MNIST (mnist/ inside), else files of the same form are made up
# DLTRAIN_BENCH_PYTHON=PYTHON    a Python with PyTorch; else python3, if it has it; else PyTorch is left out
# BUILD_DIR=build                where to build; packages for that are installed if missing, as launcher/setup.sh does
# Of allocators PyTorch gets the best of those that are there: apt-get install libjemalloc2 libtcmalloc-minimal4
set -eu
cd "$(dirname "$0")/../.."
command -v python3 >/dev/null || { echo "the benchmark needs python3 (apt-get install python3)"; exit 69; }
case " $* " in *" --help "*) exec python3 tests/bench/bench.py --build build "$@" ;; esac
sh launcher/setup.sh
. launcher/mpi_env.sh
export PYTHONDONTWRITEBYTECODE=1
# Whoever is measured decides how its own threads wait.
unset GOMP_SPINCOUNT OMP_WAIT_POLICY OMP_NUM_THREADS OMP_PROC_BIND DLTRAIN_THREADS LD_PRELOAD 2>/dev/null || true

python=${DLTRAIN_BENCH_PYTHON:-python3}
if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "PyTorch is left out: $python cannot import torch. This makes a Python that can:"
    echo "    python3 -m venv build/torch && build/torch/bin/pip install torch numpy"
    echo "    DLTRAIN_BENCH_PYTHON=build/torch/bin/python tests/bench/run.sh"
    python=
fi
case ${BUILD_DIR:-build} in
    /*) build=$BUILD_DIR ;;
    *) build=$PWD/${BUILD_DIR:-build} ;;
esac
exec python3 -B tests/bench/bench.py --build "$build" --python "$python" "$@"
