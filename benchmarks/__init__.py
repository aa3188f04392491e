"""How fast and how small mnist_tune is, beside the notebook's plain Keras loop on the same machine."""
