"""Test events through an exported graph. Imports export and evaluation."""
