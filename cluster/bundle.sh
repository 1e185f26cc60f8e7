#!/bin/sh
# Makes a relocatable bundle: dltrain, mpirun and the shared libraries that they need, to be run from any folder of
# another x86-64 Linux without packages.
#   cluster/bundle.sh [BUILD] [OUTPUT]
# BUILD: the build folder, default build. OUTPUT: a folder that is not there yet, or NAME.tar.gz that unpacks as
# NAME; default BUILD/dltrain-VERSION-linux-x86_64.tar.gz.
# Left out are glibc (the bundle says which one it needs; make it on the oldest system that you have), the driver, and
# CUDA with cuDNN and NCCL (LD_LIBRARY_PATH says where they are). bundle_start.sh is what bin/ of the bundle holds,
# licences.txt the libraries that are allowed in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
-*) echo "bundle.sh: no option $1; --help" >&2; exit 2 ;;
esac
[ $# -le 2 ] || { echo "bundle.sh: two arguments at most; --help" >&2; exit 2; }

die() { # CODE MESSAGE
    echo "bundle.sh: $2" >&2
    exit "$1"
}

build=${1:-$here/../build}
program=$build/dltrain
[ -x "$program" ] || die 66 "no program $program: build it first (launcher/setup.sh)"
[ "$(uname -m)" = x86_64 ] || die 69 "bundles are for x86-64, and this is $(uname -m)"
version=$("$program" --version | sed -n '1s/^dltrain \([^,]*\).*/\1/p')
output=${2:-$build/dltrain-$version-linux-x86_64.tar.gz}
[ ! -e "$output" ] || [ -f "$output" ] || die 73 "$output is there already"
top=$(basename "$output" .tar.gz)

if ! command -v patchelf >/dev/null; then
    echo "installing: patchelf"
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get install -y -qq --no-install-recommends patchelf >/dev/null 2>&1 ||
        { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends patchelf >/dev/null; } ||
        die 69 "needs patchelf, and it could not be installed"
fi
mpirun=$(command -v mpirun) || die 69 "no mpirun: install openmpi-bin"
info() { ompi_info --path "$1" --parsable 2>/dev/null | sed -n "s/^path:$1://p" | head -n 1; }
plugins=$(info pkglibdir)
help=$(info pkgdatadir)
[ -d "$plugins" ] && [ -d "$help" ] || die 69 "the MPI of $mpirun is not Open MPI 4 or 5: ompi_info names no folders"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
stage=$work/$top
mkdir -p "$stage/bin" "$stage/lib/openmpi" "$stage/etc" "$stage/share/licences"

# ---- programs: the files in lib/, the same starter for each in bin/
start() { # NAME FILE
    cp "$here/bundle_start.sh" "$stage/bin/$1"
    chmod 755 "$stage/bin/$1"
    cp -L "$2" "$stage/lib/$1"
    echo "$2" >>"$work/originals"
}
start dltrain "$program"
start mpirun "$mpirun"
for name in orted prterun prted; do # Open MPI 4; 5
    [ ! -x "$(dirname "$mpirun")/$name" ] || { start $name "$(dirname "$mpirun")/$name" && daemon=$name; }
done
[ ! -x "$build/dltests" ] || start dltests "$build/dltests" # for tests/gpu/run.sh
for file in "$build"/libdl_cuda.so; do # opened when a GPU is asked for
    [ ! -e "$file" ] || { cp -L "$file" "$stage/lib/" && echo "$file" >>"$work/originals"; }
done

# ---- Open MPI's plugins, but for OpenSHMEM, monitoring, and those that need libraries of a network card: the node's
# must fit its driver
for file in "$plugins"/mca_*.so; do
    [ -e "$file" ] || continue # Open MPI 5 has them built in
    readelf -d "$file" | grep -qE 'NEEDED.*lib(oshmem|ucp|fabric|ibverbs|psm|mca_common_monitoring)' && continue
    cp "$file" "$stage/lib/openmpi/"
    echo "$file" >>"$work/originals"
done
for name in openmpi prte; do
    [ ! -d "$help/../$name" ] || cp -rL "$help/../$name" "$stage/share/"
done
rm -rf "$stage"/share/*/*-wrapper-data.txt "$stage"/share/*/*.supp "$stage"/share/*/amca-param-sets
cat >"$stage/etc/openmpi-mca-params.conf" <<'C'
# Ranks talk through shared memory and TCP (--mca and OMPI_MCA_... override this).
pml = ob1
btl = ^uct,openib,ofi
mtl = ^ofi
osc = ^ucx
btl_base_warn_component_unused = 0
C
for name in openmpi-default-hostfile prte-default-hostfile prte-mca-params.conf pmix-mca-params.conf; do
    : >"$stage/etc/$name"
done

# ---- libraries: all that any of these needs, as the loader finds them here
is_glibc='^(ld-linux-x86-64\.so\.2|linux-vdso\.so\.1|lib(c|m|dl|mvec|resolv|thread_db|nss_[a-z]*)\.so\.[0-9]+|lib(pthread|rt|util|anl|nsl)\.so\.[01])$'
is_cuda='^lib(cuda|cudart|cublas[A-Za-z]*|cudnn[a-z_]*|nccl|nvrtc[a-z-]*|nvJitLink|nvidia-[a-z-]*)\.so'
tr '\n' '\0' <"$work/originals" | xargs -0 ldd | awk '$2 == "=>" {print $1, $3}' | sort -u >"$work/needed"
: >"$work/packages"
while read -r name file; do
    if echo "${name##*/}" | grep -qE "$is_glibc|$is_cuda"; then continue; fi
    [ -f "$file" ] || die 66 "the library $name is not found here"
    stem=$(echo "${name%%.so*}" | sed 's/-[0-9.]*$//')
    case $stem in
    lib*san) die 2 "$program is built with sanitizers: bundle a Release build" ;;
    esac
    grep -q "^$stem " "$here/licences.txt" ||
        die 2 "$name is not in cluster/licences.txt: look at the licence of $file, and add it if programs may link it"
    cp -L "$file" "$stage/lib/$name"
    real=$(readlink -f "$file")
    package=
    for path in "$real" "$file" "${real#/usr}" "/usr$file"; do # a merged /usr: under either name
        package=$(dpkg-query -S "$path" 2>/dev/null | sed -n '1s/:.*//p')
        [ -z "$package" ] || break
    done
    [ -n "$package" ] || echo "bundle.sh: $file is of no package: its licence's text is not in the bundle" >&2
    echo "$name ${package:-?}" >>"$work/packages"
    case $name in
    libpmix.so.*)
        [ ! -d "${real%/*}/pmix" ] || cp -rL "${real%/*}/pmix" "$stage/lib/"
        [ ! -d "${real%/*}/../share/pmix" ] || cp -rL "${real%/*}/../share/pmix" "$stage/share/"
        ;;
    esac
done <"$work/needed"

# ---- run paths: DT_RPATH, which comes before LD_LIBRARY_PATH. Then: is anything missing, and how new must glibc be?
chmod -R u+w "$stage"
for file in "$stage"/lib/* "$stage"/lib/*/*; do
    [ -f "$file" ] && readelf -h "$file" >/dev/null 2>&1 || continue
    case ${file#"$stage"/lib/} in
    */*) path='$ORIGIN/..' ;;
    *) path='$ORIGIN' ;;
    esac
    patchelf --force-rpath --set-rpath "$path" "$file"
    readelf -dVW "$file" >>"$work/elf"
done
sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/elf" | sort -u | grep -vE "$is_glibc|$is_cuda" | while read -r name; do
    [ -e "$stage/lib/$name" ] || die 70 "$name is needed and not in the bundle"
done
glibc=$(grep -oE 'GLIBC_(2\.[0-9]+|ABI_DT_RELR)' "$work/elf" | sed 's/ABI_DT_RELR/2.36/; s/^GLIBC_//' | sort -uV | tail -n 1)
echo "$glibc" >"$stage/lib/glibc"

# ---- what people read: jobs, licences, how to start
cp "$here/../launcher/mpi_env.sh" "$stage/lib/"
cp -r "$here/../jobs" "$stage/jobs"
mkdir -p "$stage/tests/bench" && cp -r "$here/../tests/gpu" "$stage/tests/gpu"
cp "$here"/../tests/bench/gpu.sh "$here"/../tests/bench/*.py "$stage/tests/bench/"
git -C "$here" describe --always --dirty >"$stage/COMMIT" 2>/dev/null || rm -f "$stage/COMMIT"
doc=/usr/share/doc
echo "mpirun openmpi-bin" >>"$work/packages"
{
    echo "Libraries of this bundle: file, licence, Debian package and version. They are linked dynamically and may be"
    echo "replaced; sources: https://snapshot.debian.org. The texts are beside this file."
    echo
    while read -r name package; do
        stem=$(echo "${name%%.so*}" | sed 's/-[0-9.]*$//')
        licence=$(sed -n "s/^$stem  *//p" "$here/licences.txt")
        release=
        if [ "$package" != '?' ]; then
            release=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null)
            [ ! -f "$doc/$package/copyright" ] || cp -L "$doc/$package/copyright" "$stage/share/licences/$package"
        fi
        printf '%-28s %-46s %s %s\n' "$name" "$licence" "$package" "$release"
    done <"$work/packages"
} >"$work/list"
grep -ohE 'common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$stage"/share/licences/* | sort -u | while read -r text; do
    [ ! -f "/usr/share/$text" ] || cp -L "/usr/share/$text" "$stage/share/licences/"
done
mv "$work/list" "$stage/share/licences/LIBRARIES"
cat >"$stage/README" <<R
dltrain $version for x86-64 Linux with glibc $glibc or newer; no packages are needed.

    bin/mpirun -np 2 bin/dltrain jobs/quickstart.yaml     trains; runs/ appears in the current folder
    bin/dltrain help                                      what a job can say
    sh tests/gpu/run.sh                                   what only a GPU can show, in at most ten minutes
    sh tests/bench/gpu.sh --only fp16                     beside PyTorch on the same GPU (needs Python with it; the
                                                          file says what to ask for in which order)

The folder may lie anywhere. For a run over several nodes it lies under the same path on each, a path without blanks
(mpirun starts bin/$daemon there through ssh). Ranks talk through shared memory and TCP. For GPUs put CUDA, cuDNN and
NCCL into LD_LIBRARY_PATH; the libraries of this folder come before it. Licences of the libraries: share/licences.
R

# ---- out, whole or not at all
mkdir -p "$(dirname "$output")" || die 73 "cannot make the folder of $output"
case $output in
*.tar.gz)
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -czf "$output.part" "$top" &&
        mv "$output.part" "$output" || { rm -f "$output.part"; die 73 "cannot write $output"; }
    ;;
*) mv "$stage" "$output" || die 73 "cannot write $output" ;;
esac
echo "$output: $(du -sh "$output" | cut -f 1), $(wc -l <"$work/packages") libraries, needs glibc $glibc"
