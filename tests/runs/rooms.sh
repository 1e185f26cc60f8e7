#!/bin/sh
# Holds the source to its house rules: a room includes only itself and rooms below it, no file of the
# program is longer than 500 lines, and the README names files that exist. Prints each offender, then "ok NAME" or "FAILED NAME: why". The
# check first proves itself on a small tree with known offenders.
set -u
cd "$(dirname "$0")/../.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
failed=0

# One "FILE:LINE: why" for each quoted include in the tree $1 that points sideways, up, or at no room;
# the last line counts the includes seen. runtime/base lies under runtime/expr on the first floor.
includes() {
    (cd "$1" && find . -name .git -prune -o -path './build*' -prune -o -path ./tests -prune -o \
        -type f \( -name '*.c' -o -name '*.h' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' \) \
        -exec grep -nE '^[ 	]*#[ 	]*include[ 	]*"' /dev/null {} +) | awk '
        BEGIN {
            floor["runtime/base"] = 1.0
            floor["runtime/expr"] = 1.5
            floor["runtime/graph"] = floor["runtime/device"] = 2
            floor["runtime/data"] = floor["runtime/store"] = 2
            floor["ops"] = floor["runtime/exec"] = floor["comm"] = 3
            floor["models"] = floor["runtime/report"] = 4
            floor["launcher"] = 5
        }
        function room(path, part, count) {
            count = split(path, part, "/")
            if (count < 2)
                return ""
            return part[1] == "runtime" && count > 2 ? part[1] "/" part[2] : part[1]
        }
        {
            seen++
            colon = index($0, ":")
            file = substr($0, 3, colon - 3) # without ./
            rest = substr($0, colon + 1)
            line = substr(rest, 1, index(rest, ":") - 1)
            split(rest, quoted, "\"")
            from = room(file)
            to = room(quoted[2])
            if (!(from in floor))
                why = "no floor is known for room \"" from "\""
            else if (!(to in floor))
                why = "\"" quoted[2] "\" names no room"
            else if (from != to && floor[to] >= floor[from])
                why = from " must not include " quoted[2]
            else
                next
            print file ":" line ": " why
        }
        END { print seen + 0 }'
}

# "FILE: N lines" for each file of the program and of its tests in the tree $1 that has more than 500.
long_files() {
    (cd "$1" && find runtime ops comm models launcher tests -type f \
        ! -path 'tests/reference/*.txt' ! -path 'tests/reference/*.f32' ! -path 'tests/fuzz/corpus/*' \
        ! -path 'tests/bench/results/*' -exec awk '
        FNR == 1 && NR > 1 && last > 500 { print name ": " last " lines" }
        { name = FILENAME; last = FNR }
        END { if (last > 500) print name ": " last " lines" }' {} + 2>/dev/null)
}

report() { # NAME OFFENDERS
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "$2"
        echo "FAILED $1: $(echo "$2" | wc -l) offenders"
        failed=1
    fi
}

mkdir -p "$scratch/runtime/base" "$scratch/runtime/graph" "$scratch/runtime/data" "$scratch/ops" \
    "$scratch/comm" "$scratch/models" "$scratch/launcher" "$scratch/tests/unit"
printf '#include <stdio.h>\n#include "runtime/base/a.h"\n' >"$scratch/runtime/base/fine.c"
printf '#include "ops/ops.h"\n#include "ops/own.h"\n' >"$scratch/ops/fine.c"
printf '#include "models/model.h"\n' >"$scratch/ops/up.c"
printf '\n  #  include "runtime/data/data.h"\n' >"$scratch/runtime/graph/sideways.h"
printf '#include "comm/comm.h"\n#include "beside.h"\n' >"$scratch/ops/sideways.cu"
printf '#include "tests/unit/check.h"\n' >"$scratch/launcher/tests.inc"
yes '' | head -n 501 >"$scratch/comm/long.c"
yes '' | head -n 500 >"$scratch/comm/short.c"
yes '' | head -n 502 >"$scratch/tests/unit/test_long.c"
got=$(includes "$scratch" | LC_ALL=C sort; long_files "$scratch")
want='8
launcher/tests.inc:1: "tests/unit/check.h" names no room
ops/sideways.cu:1: ops must not include comm/comm.h
ops/sideways.cu:2: "beside.h" names no room
ops/up.c:1: ops must not include models/model.h
runtime/graph/sideways.h:2: runtime/graph must not include runtime/data/data.h
comm/long.c: 501 lines
tests/unit/test_long.c: 502 lines'
if [ "$got" = "$want" ]; then
    echo "ok the check of rooms finds what is wrong"
else
    printf 'want:\n%s\ngot:\n%s\n' "$want" "$got"
    echo "FAILED the check of rooms finds what is wrong"
    failed=1
fi

# "FILE: NAME" for each source, script and job that the file names and the tree does not have; NAME and * stand for any.
unknown() {
    find . -name .git -prune -o -path './build*' -prune -o -type f -print >"$scratch/files"
    grep -oE '`[A-Za-z0-9_/.*-]+\.(c|h|cu|sh|py)`|jobs/[a-z0-9-]+\.yaml' "$1" | tr -d '`' | sort -u |
        while read -r name; do
            pattern=$(echo "$name" | sed 's/\./\\./g; s/NAME/*/; s/\*/[^\/]*/')
            grep -q "/$pattern\$" "$scratch/files" || echo "$1: $name"
        done
}

printf '`rooms.sh`, `source_NAME.c`, `tests/runs/no*.sh`, `nowhere.c`, jobs/nowhere.yaml\n' >"$scratch/README.md"
if [ "$(unknown "$scratch/README.md" | LC_ALL=C sort)" = "$scratch/README.md: jobs/nowhere.yaml
$scratch/README.md: nowhere.c" ]; then
    echo "ok the check of the README's names finds what is wrong"
else
    unknown "$scratch/README.md"
    echo "FAILED the check of the README's names finds what is wrong"
    failed=1
fi

found=$(includes .)
seen=$(echo "$found" | tail -n 1)
offenders=$(echo "$found" | sed '$d')
[ "$seen" -gt 0 ] || offenders="no include was found"
report "rooms include only what lies below ($seen includes)" "$offenders"
report "no file of the program or its tests is longer than 500 lines" "$(long_files .)"
report "the README names files that are here" "$(unknown README.md)"
[ $failed -eq 0 ]
