"""The coordinator: asks for trials, has them trained, and writes what comes back."""
