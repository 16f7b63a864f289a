"""Recommendations in Python and in the shell. Imports checkpoint and below; needs numpy only."""
