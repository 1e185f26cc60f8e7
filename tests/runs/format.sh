#!/bin/sh
# Every source file is as clang-format 14 writes it with .clang-format (other versions differ in small things).
#   clang-format -i FILE mends one.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
    skip "format" "no clang-format 14 here"
    exit 0
fi
wrong=$(find runtime ops comm models launcher tests \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp' \) -exec clang-format --dry-run {} + 2>&1 |
    sed -n 's/^\([^:]*\):[0-9].*clang-format-violations.*/\1/p' | sort -u)
if [ -z "$wrong" ]; then
    ok "format"
else
    bad "format" "$(echo $wrong)"
fi
