#!/bin/sh
# The relocatable bundle (cluster/bundle.sh): unpacked under another name it trains to the bits of the program that it
# was made from, on 1 and 2 ranks; on this host without a library of the host but glibc's, though LD_LIBRARY_PATH
# names them, and in a folder that holds only glibc, a shell and the bundle (which needs root). An older glibc, and a
# library whose licence nobody has looked at, are refused. No network but for installing patchelf.
. "$(dirname "$0")/lib.sh"
BUILD=${BUILD:-$root/build}
export DLTRAIN_THREADS=1
if ldd "$DLTRAIN" | grep -q 'lib[a-z]*san\.'; then
    skip "bundle" "built with sanitizers"
    exit
fi
timeout 300 sh "$root/cluster/bundle.sh" "$BUILD" "$WORK/made/dl.tar.gz" >made.out 2>&1
code=$?
if [ $code = 69 ]; then
    skip "bundle" "$(tail -n 1 made.out)"
    exit
elif [ $code != 0 ]; then
    cat made.out
    bad "bundle" "exit $code"
    exit
fi
bundle="$WORK/jail/opt/another name"
mkdir -p jail/opt && tar -xzf made/dl.tar.gz -C jail/opt && mv jail/opt/dl "$bundle" || { bad "bundle" "tar"; exit; }
ok "bundle: $(tail -n 1 made.out | sed 's/.*: //')"
packed=$(du -m made/dl.tar.gz | cut -f 1)
[ "$packed" -le 64 ] && ok "at most 64 MiB to carry: $packed" || bad "at most 64 MiB to carry" "$packed"
for file in tests/gpu/run.sh tests/gpu/cuda_path.sh tests/gpu/digits.yaml tests/bench/gpu.sh tests/bench/gpu.py \
    tests/bench/card.py tests/bench/torch_step.py jobs/resnet50-imagenet.yaml bin/dltests; do
    [ -s "$bundle/$file" ] || bad "the bundle's tests" "$file is not in it"
done
is_glibc='/(ld-linux-x86-64|lib(c|m|mvec|resolv|dl|pthread|rt|util|anl|nsl|nss_[a-z]*))\.so\.[0-9]+$'
job="--fresh --set epochs=1"

# same TITLE RUN WANTED: the weights of RUN are those of runs/WANTED.
same() {
    got=$(status_of "$2" weights)
    want=$(status_of "runs/$3" weights)
    if [ -n "$want" ] && [ "$got" = "$want" ]; then
        ok "$1: $got"
    else
        tail -n 20 out
        bad "$1" "'$got' is not '$want'"
    fi
}

for ranks in 1 2; do
    train $ranks "$root/jobs/quickstart.yaml" $job --set name=plain-$ranks || { cat out; bad "unbundled" "exit $?"; }
done

# ---- this host: its own libraries come first for whatever has no run path
debug="LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu LD_DEBUG=files LD_DEBUG_OUTPUT=$WORK/loader"
env $debug timeout 60 "$bundle/bin/mpirun" -np 2 "$bundle/bin/dltrain" "$bundle/jobs/quickstart.yaml" $job \
    --set name=here >out 2>&1
same "the bundle on this host" runs/here plain-2
# mpirun and two ranks; a shell's own programs are none of the bundle's
started=$(grep -lE "initialize program: .*/another name/lib/" loader.*)
opened=$(echo "$started" | xargs sed -n 's/.*calling init: //p' | sort -u)
ours=$(echo "$opened" | grep -c "^$bundle/lib/")
others=$(echo "$opened" | grep -v "^$bundle/lib/" | grep -vE "$is_glibc")
if [ "$(echo "$started" | wc -l)" -ge 3 ] && [ "$ours" -gt 40 ] && [ -z "$others" ]; then
    ok "no library of the host but glibc's, $ours of the bundle"
else
    bad "libraries of the host" "$ours of the bundle, and: $(echo $others)"
fi

# What only a GPU can show travels along; without one it is skipped with the reason.
if [ ! -e "$BUILD/libdl_cuda.so" ]; then
    skip "the bundle's tests on a GPU" "libdl_cuda.so is not built"
else
    (cd "$WORK" && DLTRAIN_GPU_SECONDS=60 timeout 120 sh "$bundle/tests/gpu/run.sh" here.json) >out 2>&1
    code=$?
    if [ $code = 0 ] && grep -qE '^[0-9]+ passed, 0 failed, [0-9]+ skipped' out && [ -s here.json ]; then
        ok "the bundle's tests on a GPU: $(tail -n 1 out)"
    else
        tail -n 20 out
        bad "the bundle's tests on a GPU" "exit $code"
    fi
    ls "$bundle/lib" | grep -qE '^lib(cuda|cudart|cublas|cudnn|nccl|nvrtc)' && bad "CUDA in the bundle" "its libraries" ||
        ok "the bundle has libdl_cuda.so and nothing of CUDA"
fi

# ---- nothing but glibc and a shell. Kernel files and folders are mounted in a name space that ends with the run.
glibc=$(dirname "$(ldd /bin/sh | sed -n 's/.*=> \(.*libc\.so\.6\) .*/\1/p')")
mkdir -p jail/bin jail/lib64 "jail$glibc" jail/tmp jail/proc jail/sys jail/dev/shm
cp -L /bin/sh jail/bin/
cp -L /lib64/ld-linux-x86-64.so.2 jail/lib64/
for name in c m mvec resolv dl pthread rt util; do cp -L "$glibc"/lib$name.so.* "jail$glibc/"; done
: >jail/dev/null
mounts='mount --rbind /proc jail/proc && mount --rbind /sys jail/sys && mount --bind /dev/null jail/dev/null'
jailed() { # COMMAND: in the bundle's folder, with an empty environment
    env -i PATH="$PATH" DLTRAIN_THREADS=1 timeout 60 unshare --mount sh -c \
        "$mounts && exec chroot jail /bin/sh -c \"cd '/opt/another name' && $1\""
}
if [ "$(id -u)" = 0 ] && jailed : >out 2>&1; then
    jailed "bin/dltrain jobs/quickstart.yaml $job --set name=alone" >out 2>&1
    same "without packages, no mpirun" "$bundle/runs/alone" plain-1
    for ranks in 1 2; do
        jailed "bin/mpirun -np $ranks bin/dltrain jobs/quickstart.yaml $job --set name=jail-$ranks" >out 2>&1
        same "without packages, mpirun -np $ranks" "$bundle/runs/jail-$ranks" plain-$ranks
    done
else
    skip "bundle without packages" "needs root and leave to mount: $(tail -n 1 out)"
fi

# ---- what is refused
echo 2.99 >"$bundle/lib/glibc"
"$bundle/bin/dltrain" --version >out 2>&1
code=$?
[ $code = 69 ] && grep -q "needs glibc 2.99 or newer, and this host has 2\.[0-9]*:" out &&
    ok "an older glibc: $(head -c 60 out)..." || { cat out; bad "an older glibc" "exit $code"; }
cp -r "$root/cluster" cluster
sed -i '/^libaec /d' cluster/licences.txt
sh cluster/bundle.sh "$BUILD" unknown >out 2>&1
code=$?
[ $code = 2 ] && grep -q "libaec.so.* is not in cluster/licences.txt" out && [ ! -e unknown ] &&
    ok "a library of unknown licence" || { cat out; bad "a library of unknown licence" "exit $code"; }
