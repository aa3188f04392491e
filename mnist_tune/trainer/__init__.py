"""The one trainer of all studies; only this package imports TensorFlow."""
