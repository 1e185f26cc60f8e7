#!/bin/sh
# From a fresh machine to a trained network: installs, builds, trains a small convnet on drawn digits on
# two ranks. Takes a few minutes, of which training is less than one.
set -eu
cd "$(dirname "$0")/.."
sh launcher/setup.sh
. launcher/mpi_env.sh
exec mpirun -np 2 build/dltrain jobs/quickstart.yaml --fresh
