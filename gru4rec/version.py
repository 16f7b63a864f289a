"""The version of the package; it is written in this place only."""

__version__ = "0.1.0"
