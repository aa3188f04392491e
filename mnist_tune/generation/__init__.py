"""`mnist-tune generate`: synthetic digits from the decoder of an autoencoder."""
