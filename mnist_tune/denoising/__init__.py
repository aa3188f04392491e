"""How much better a classifier reads noisy digits once an autoencoder has cleaned them."""
