"""Evaluates an exported graph on test events. Imports export and evaluation."""
