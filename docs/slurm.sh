#!/usr/bin/env bash
# Workers of a study as a SLURM job array: each task joins the coordinator with the GPUs (or, without any,
# the cores) that SLURM has given it. See docs/clusters.md.
#   COORDINATOR=tls://login1:8786 sbatch --array=1-8 docs/slurm.sh
#SBATCH --job-name=mnist-tune-worker
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --mem=16G
#SBATCH --time=12:00:00
# SLURM warns a minute before it kills: the worker leaves, and its runs resume elsewhere.
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
set -euo pipefail

: "${COORDINATOR:?the address that the coordinator listens at, such as tls://login1:8786}"
# sbatch copies this file to a spool folder; the checkout is where the job was submitted.
cd -- "${MNIST_TUNE_CHECKOUT:-${SLURM_SUBMIT_DIR:-.}}"

exec scripts/mnist-tune worker "$COORDINATOR" \
    --name "${SLURM_JOB_ID:-by-hand}-${SLURM_ARRAY_TASK_ID:-0}" "$@"
