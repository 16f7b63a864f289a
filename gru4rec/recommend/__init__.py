"""Recommendations in Python and in the shell, by numpy alone. On top of checkpoint, engine."""
