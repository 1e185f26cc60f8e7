#!/bin/sh
# Every job of jobs/ on paper: `dltrain plan` shows the field shapes and the number of parameters of its line
# "# expect: params=N FIELD=SHAPE ...", and plans it for 1 to 4 ranks.
# CIFAR-10's binary files are replaced by a stand-in where they are absent: a plan depends on shapes, labels
# and counts alone. Other data must be there, or the job is skipped.
. "$(dirname "$0")/lib.sh"

planned=0
for job in "$root"/jobs/*.yaml; do
    name=${job##*/}
    name=${name%.yaml}
    planned=$((planned + 1))
    expect=$(sed -n 's/^# expect: //p' "$job")
    [ -n "$expect" ] || { bad "plan of $name" "the job has no line '# expect:'"; continue; }
    data_of "$job" "$name" || continue
    wrong=
    for ranks in 1 2 3 4; do
        DLTRAIN_DATA=$DATA timeout 60 "$DLTRAIN" plan "$job" --ranks $ranks >plan.out 2>&1 ||
            { wrong="exit $? with $ranks ranks: $(tail -n 1 plan.out)"; break; }
        for word in $expect; do
            case $word in
            params=*) grep -qx "Total params: ${word#*=}" plan.out ||
                wrong="$(grep '^Total params' plan.out), expected ${word#*=}" ;;
            *=*) # x=28,28,1 is shown as "x  (28, 28, 1) float32", x=784 as "(784,)"
                shape=$(echo "${word#*=}" | sed 's/,/, /g; s/^\([0-9]*\)$/\1,/')
                grep -qE "^  ${word%%=*} +\($shape\) (float32|int32)" plan.out ||
                    wrong="no field ${word%%=*} of shape ($shape): $(grep -E "^  ${word%%=*} " plan.out)" ;;
            esac
        done
        grep -qE "pieces on $ranks rank|^Threads" plan.out || wrong="no batches or threads with $ranks ranks"
    done
    [ -z "$wrong" ] && ok "plan of $name: $expect" || bad "plan of $name" "$wrong"
done
[ "$planned" -gt 0 ] || bad "plans" "no jobs"
