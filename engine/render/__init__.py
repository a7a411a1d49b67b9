"""Functions from jobs to pictures and sound."""
