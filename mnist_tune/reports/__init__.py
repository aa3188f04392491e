"""What came out of a study: read from the storage, said with its uncertainty, written to files."""
