"""Means, intervals and comparisons: what may be said of a few runs on few test images."""
