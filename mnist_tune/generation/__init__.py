"""Synthetic digits from the decoder of an autoencoder, and whether they pass for digits."""
