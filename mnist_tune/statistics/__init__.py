"""Statistics: means, intervals and comparisons of a few runs on finite test sets."""
