"""A run as one page. Imports runlog and recommend."""
