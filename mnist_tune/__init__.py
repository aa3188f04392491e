"""Hyperparameter studies on MNIST that resume exactly and report honestly."""

__version__ = "0.1.0"
