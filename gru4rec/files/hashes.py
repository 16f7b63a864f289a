"""SHA-256 of files."""

import hashlib
import os


def sha256(path):
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path):
    """[size, SHA-256] of a file."""
    return [os.path.getsize(path), sha256(path)]
