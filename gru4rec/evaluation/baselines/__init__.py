"""Recommenders without learning. Imports data, files and errors."""
