"""The same training as plain scripts of Keras, PyTorch and JAX, as their own tutorials would write it."""
