"""Worker processes: tasks, the pools that run them, and what a worker does."""
