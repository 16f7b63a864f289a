"""The report of a run as one HTML page. On top of recommend."""
