#!/bin/bash
# @{name} on Slurm: @{packs} packs at once, each with @{pack}.
#
#   sbatch THIS-FILE         again if it ends with status 124: each run trains what is missing
#
# Set account, partition and time; make the same `dmd-study` available below on every node. Nodes are not shared
# (--exclusive), so that no other processes use Ray's ports and /dev/shm.
#SBATCH --job-name=@{label}
#SBATCH --nodes=@{nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=@{cpus}
@{slurm_gpus}#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@@120
#SBATCH --open-mode=append
set -euo pipefail

# source /path/to/environment/bin/activate

# The secret is made for this job and never on a command line: srun passes the environment on. No statistics are sent.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))
# CPUs are given explicitly: Ray's own count ignores Slurm's limits. The object store holds the data once per node.
node=(--block --num-cpus=@{cpus} --num-gpus=@{gpus} --object-store-memory=2000000000)

srun --nodes=1 --ntasks=1 --cpus-per-task=@{cpus} --nodelist="$head" \
    ray start --head --node-ip-address="$head_ip" --port="$port" --include-dashboard=false "${node[@@]}" &
ray=$!
until python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)' \
    "$head_ip" "$port" 2>/dev/null; do
    kill -0 "$ray" # if Ray has ended, the script ends here
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --cpus-per-task=@{cpus} --exclude="$head" \
        ray start --address="$head_ip:$port" "${node[@@]}" &
fi

# The run stops five minutes before Slurm ends the job; packs that have not ended are left to the next job.
left=$((SLURM_JOB_END_TIME - $(date +%s) - 300))
dmd-study run @{spec} --out @{out} --address "$head_ip:$port" --nodes "$SLURM_JOB_NUM_NODES" --time-limit "$left" &
driver=$!
trap 'kill -TERM "$driver"' TERM
status=0
wait "$driver" || status=$?
while kill -0 "$driver" 2>/dev/null; do # a signal had interrupted the wait
    wait "$driver" || status=$?
done
# if [ "$status" -eq 124 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
jobs -p | xargs --no-run-if-empty kill || true # Ray, here and on the other nodes
wait
exit "$status"
