# Sourced by the run scripts. DLTRAIN (program), BUILD (folder), WORK (scratch) come from tests/run.sh.
# Prints "ok NAME", "FAILED NAME: why", "skipped NAME: why"; exit status is left to the caller.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
DLTRAIN=${DLTRAIN:-$root/build/dltrain}
WORK=${WORK:-$(mktemp -d)}
export DLTRAIN_CACHE="$WORK/cache"
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

# cifar_stand_in FOLDER: six files of 1,010 records (label, 3,072 bytes), all ten labels.
cifar_stand_in() {
    mkdir -p "$1"
    for label in 000 001 002 003 004 005 006 007 010 011; do # octal
        printf "\\$label"
        head -c 3072 /dev/zero
    done >"$1/ten"
    for i in $(seq 101); do cat "$1/ten"; done >"$1/test_batch.bin"
    for i in 1 2 3 4 5; do cp "$1/test_batch.bin" "$1/data_batch_$i.bin"; done
}

# data_of JOB NAME: sets DATA to the folder that holds the job's data, for a plan of it; or skips the job.
data_of() {
    folder=$(sed -n 's|^  root: .*}/\([a-z0-9]*\) *$|\1|p' "$1")
    DATA=${DLTRAIN_DATA:-$WORK/none}
    [ -n "$folder" ] || return 0
    case $folder in
    cifar10)
        [ -e "$DATA/cifar10/test_batch.bin" ] && return 0
        DATA=$WORK/stand-in
        [ -e "$DATA/cifar10" ] || cifar_stand_in "$DATA/cifar10"
        ;;
    *) need_data "$folder" "plan of $2" ;;
    esac
}
