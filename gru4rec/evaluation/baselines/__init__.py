"""Recommenders without learning. Imports the counts of evaluation, data and files."""
