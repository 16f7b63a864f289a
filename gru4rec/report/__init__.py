"""The report of a run as one HTML page. Imports runlog and recommend."""
