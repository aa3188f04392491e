"""Reports: tables, figures and documents of a study, read from the storage."""
