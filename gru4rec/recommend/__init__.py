"""Recommendations in Python and in the shell. Imports checkpoint and below; numpy alone by default.
"""
