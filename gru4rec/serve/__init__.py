"""Recommendations over HTTP, nothing else. On top of recommend."""
