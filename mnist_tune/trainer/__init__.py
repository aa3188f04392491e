"""The trainer; only this package imports TensorFlow."""
