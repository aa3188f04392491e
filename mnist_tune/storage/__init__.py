"""The storage: Optuna's tables, ours beside them, artifacts, and the lease."""
