"""Where trials live: Optuna's tables, ours beside them, artifacts, and the lease."""
