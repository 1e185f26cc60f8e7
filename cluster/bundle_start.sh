#!/bin/sh
# A program of a dltrain bundle (cluster/bundle.sh makes them): starts ../lib/NAME, NAME being this file's own name,
# from wherever the bundle lies, with Open MPI's folders in the bundle. Libraries are found by their run paths, so that
# LD_LIBRARY_PATH stays free for CUDA. Needs a shell and nothing else.
self=$0
case $self in */*) ;; *) self=./$self ;; esac
if [ -L "$self" ]; then self=$(readlink -f "$self"); fi
root=$(cd "${self%/*}/.." && pwd -P) || exit 69
name=${self##*/}

# The loader's own message on an older glibc names a symbol; before 2.33 it cannot say its version.
read -r need <"$root/lib/glibc"
loader=/lib64/ld-linux-x86-64.so.2
if [ ! -x "$loader" ]; then
    echo "$name: this bundle needs x86-64 Linux with glibc $need or newer, and there is no $loader here" >&2
    exit 69
fi
have=$("$loader" --version 2>/dev/null) || have=
have=${have#*release version }
have=${have%%[!0-9.]*}
have=${have%.}
case $have in
2.*) minor=${have#2.} ;;
'') minor=32 have="2.32 or older" ;;
*) minor=999 ;;
esac
if [ "${minor%%.*}" -lt "${need#2.}" ]; then
    echo "$name: this bundle needs glibc $need or newer, and this host has $have: make the bundle on an older system" >&2
    exit 69
fi

# Folders of Open MPI, and of its parts PRRTE and PMIx. hwloc and UCX would look for plugins on the host: they get none.
export OPAL_PREFIX="$root" OPAL_LIBDIR="$root/lib" OPAL_PKGLIBDIR="$root/lib/openmpi" OPAL_SYSCONFDIR="$root/etc"
export PRTE_PREFIX="$root" PRTE_LIBDIR="$root/lib" PRTE_SYSCONFDIR="$root/etc"
export PMIX_PREFIX="$root" PMIX_LIBDIR="$root/lib" PMIX_SYSCONFDIR="$root/etc" PMIX_DATADIR="$root/share"
export HWLOC_PLUGINS_PATH="$root/lib/hwloc" UCX_MODULE_DIR="$root/lib/ucx"
export HOME="${HOME:-/}" # PMIx does not survive a user without one
if [ "$name" = mpirun ]; then
    . "$root/lib/mpi_env.sh" >&2
    # Open MPI 4 gives up on a node from which no other can be reached, even if none shall be.
    if [ -z "${OMPI_MCA_plm:-}${SLURM_JOB_ID:-}" ] && ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then
        export OMPI_MCA_plm=isolated
    fi
fi
exec "$root/lib/$name" "$@"
