"""Processes that train: tasks, what runs them, and how they are told to stop."""
