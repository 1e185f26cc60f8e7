#!/bin/sh
# Installs what dltrain is built from, by package name, and builds it (Release) in build/.
# Debian 12 and 13, and Ubuntu 24.04 with its universe (not run there yet); root, or a user with sudo. Called by
# quickstart.sh and tests/run.sh.
#   BUILD_DIR=build  CMAKE_FLAGS="..."  as wished.
set -eu
cd "$(dirname "$0")/.."

packages="gcc g++ make cmake pkg-config openmpi-bin libopenmpi-dev libhdf5-dev libyaml-dev libjansson-dev
          zlib1g-dev libdnnl-dev libcunit1-dev"
missing=
for package in $packages; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
        missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing:$missing"
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
        echo "could not install:$missing (on Ubuntu some are in universe: add-apt-repository universe)"
        exit 1
    }
fi

build=${BUILD_DIR:-build}
mkdir -p "$build"
# shellcheck disable=SC2086
cmake -S . -B "$build" ${CMAKE_FLAGS:-} >"$build/configure.log" 2>&1 || {
    cat "$build/configure.log"
    exit 1
}
cmake --build "$build" -j "$(nproc)" -- --no-print-directory >"$build/build.log" 2>&1 || {
    grep -E -A 8 'warning:|error:|undefined reference|\*\*\*' "$build/build.log" | head -n 60
    echo "the build failed; $build/build.log has all of it"
    exit 1
}
echo "built $build/dltrain"
