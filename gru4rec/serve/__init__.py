"""Recommendations over HTTP, nothing else. Imports recommend."""
