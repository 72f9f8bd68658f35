#!/bin/bash
# One process per node, on 4 nodes: sbatch slurm.sh
#SBATCH --job-name=tallow
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --signal=TERM@60   # a minute before the time is up: the run saves a checkpoint

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=29500

# The first job starts the run; the next ones go on with it.
if [ -d runs/big ]; then how="--resume runs/big"; else how="--recipe cnn --run-dir runs/big"; fi

srun bash -c "RANK=\$SLURM_PROCID WORLD_SIZE=\$SLURM_NTASKS trainer train $how --offline"
