#!/bin/sh
# Two hosts: two network namespaces with names of their own, joined by a cable of 1 Gbit/s, and mpirun
# between them. The same bits as on one host, with and without sums beside the backward pass; a rank
# that dies on the other host ends the run. Needs root and iproute2.
. "$(dirname "$0")/lib.sh"
net=192.168.77
a=dltrain-a-$$ b=dltrain-b-$$

can_make_hosts() {
    [ "$(id -u)" = 0 ] && command -v ip >/dev/null && command -v tc >/dev/null &&
        command -v unshare >/dev/null && ip netns add "$a" 2>/dev/null && ip netns add "$b" 2>/dev/null &&
        ip netns exec "$a" unshare --uts hostname "$a" 2>/dev/null
}
remove_hosts() {
    for host in $a $b; do
        for pid in $(ip netns pids "$host" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
        ip netns del "$host" 2>/dev/null
    done
}
trap remove_hosts EXIT INT TERM
can_make_hosts || { skip "two hosts" "needs root, iproute2 and leave to make network namespaces"; exit; }

ip link add dla type veth peer name dlb netns "$b" && ip link set dla netns "$a" || { skip "two hosts" "no veth"; exit; }
for end in "$a dla 1" "$b dlb 2"; do
    set -- $end
    ip -n "$1" addr add $net.$3/24 dev "$2"
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
    ip netns exec "$1" tc qdisc add dev "$2" root tbf rate 1gbit burst 256kb latency 50ms 2>/dev/null
done
printf '%s\n' "$net.1 slots=2" "$net.2 slots=2" >hostfile

# What mpirun uses in place of ssh: HOST COMMAND...
cat >agent <<Y
#!/bin/sh
case \$1 in *.1) host=$a ;; *) host=$b ;; esac
shift
exec ip netns exec \$host unshare --uts sh -c "hostname \$host; \$*"
Y
chmod +x agent

# hosts RANKS ARGUMENTS...: as `train`, the ranks dealt out to the two hosts in turn.
hosts() {
    ranks=$1
    shift
    timeout --foreground 120 ip netns exec "$a" unshare --uts sh -c 'hostname '"$a"'; exec "$@"' sh \
        mpirun --hostfile hostfile --map-by node -np "$ranks" -x OMPI_MCA_btl_tcp_if_include \
        -x DLTRAIN_THREADS=1 -x OMP_WAIT_POLICY=passive "$DLTRAIN" "$@" >out 2>&1
}

cat >hosts.yaml <<'Y'
data:
  train: {synthetic: {kind: digits, samples: 600}}
  prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]
model:
  - conv2d: {filters: 8, kernel_size: 3, activation: relu}
  - batch_normalization
  - max_pooling2d: 2
  - flatten
  - dense: {units: 64, activation: relu}
  - dense: {units: 10, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: adam
batch_size: 60
epochs: 2
reproducible: any_ranks
shards: 4
comm: {first_bucket: 1 KiB, bucket: 16 KiB}
Y
train 1 hosts.yaml --fresh --set name=one || { cat out; bad "one host" "exit $?"; }
want=$(status_of runs/one weights)

# Open MPI 4 reads the first three, Open MPI 5 the others.
export OMPI_MCA_plm_rsh_agent="$PWD/agent" OMPI_MCA_oob_tcp_if_include=$net.0/24 OMPI_MCA_btl_tcp_if_include=$net.0/24
export PRTE_MCA_plm_ssh_agent="$PWD/agent" PRTE_MCA_prte_if_include=$net.0/24
for ranks in 2 3 4; do
    for overlap in never always; do
        name=hosts-$ranks-$overlap
        if ! hosts $ranks hosts.yaml --fresh --set name=$name --set comm.overlap=$overlap; then
            tail -n 20 out
            bad "$ranks ranks on two hosts, overlap $overlap" "exit"
        elif [ -n "$want" ] && [ "$(status_of runs/$name weights)" = "$want" ]; then
            ok "$ranks ranks on two hosts, overlap $overlap: the bits of one host"
        else
            bad "$ranks ranks on two hosts, overlap $overlap" "'$(status_of runs/$name weights)', not '$want'"
        fi
    done
done

# One rank of the other host is killed in the middle: the run ends, and says which code.
hosts 2 hosts.yaml --fresh --set name=killed --set epochs=100000 --set checkpoint.every="1000 epochs" &
waiting=$!
tries=0
until grep -q "Epoch 3" out 2>/dev/null || [ $tries -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.2
done
victim=$(ip netns pids "$b" | while read -r pid; do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dltrain ] && echo "$pid" && break
done)
begun=$(date +%s)
kill -9 "$victim" 2>/dev/null
wait $waiting
code=$?
if [ -n "$victim" ] && [ $code -ne 0 ] && [ $code -ne 124 ]; then
    ok "a rank killed on the other host: exit $code after $(($(date +%s) - begun)) s"
else
    tail -n 20 out
    bad "a rank killed on the other host" "exit $code, process '$victim'"
fi
