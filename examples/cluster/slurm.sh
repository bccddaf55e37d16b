#!/usr/bin/env bash
# slurm.sh -- a share of a plan as a task of a Slurm array: sbatch --array=1-16 slurm.sh jobs.jsonl out
#SBATCH --job-name=qgen
exec "${QGEN:-qgen}" work --shard auto --jobs "$1" --out "$2/$SLURM_ARRAY_TASK_ID"
