"""Test events through exported graphs: what `--train 0` prints, without this package's model (docs/export.md)."""
