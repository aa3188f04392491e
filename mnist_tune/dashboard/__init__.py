"""optuna-dashboard on our storage, served safely."""
