"""From a study file to a checked definition: loading, overrides, search space, fingerprint."""
