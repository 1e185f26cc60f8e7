# Sourced by the run scripts. DLTRAIN (program), BUILD (folder), WORK (scratch) come from tests/run.sh.
# Prints "ok NAME", "FAILED NAME: why", "skipped NAME: why"; exit status is left to the caller.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
DLTRAIN=${DLTRAIN:-$root/build/dltrain}
WORK=${WORK:-$(mktemp -d)}
. "$root/launcher/mpi_env.sh" >/dev/null
cd "$WORK" || exit 1

ok() { echo "ok $1"; }
bad() { echo "FAILED $1: $2"; }
skip() { echo "skipped $1: $2"; }

# train RANKS ARGUMENTS...: output in $WORK/out, exit status returned.
train() {
    ranks=$1
    shift
    timeout --foreground 600 mpirun -np "$ranks" "$DLTRAIN" "$@" >"$WORK/out" 2>&1
}

# Real data under DLTRAIN_DATA/$1, or the part is skipped.
need_data() {
    [ -n "${DLTRAIN_DATA:-}" ] && [ -e "$DLTRAIN_DATA/$1" ] && return 0
    if [ "${DLTRAIN_REQUIRE:-}" = data ]; then
        bad "$2" "no data: DLTRAIN_DATA/$1"
    else
        skip "$2" "no data: DLTRAIN_DATA/$1"
    fi
    return 1
}

# Value of a key in a run's status.json.
status_of() {
    sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\)\"\{0,1\}.*/\1/p" "$1/status.json" | head -n 1
}
