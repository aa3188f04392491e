"""The dashboard: optuna-dashboard on our storage, with notes and figures."""
