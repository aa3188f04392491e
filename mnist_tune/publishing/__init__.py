"""What a study shows in the dashboard: its note, and the pictures and tables of its trials."""
