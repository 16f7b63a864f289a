"""Counts and SHA-256 of the training events, to check that a later run has the same events."""

import hashlib

import numpy as np

from gru4rec.data.epochs import Share


def data_of(vocabulary, sessions, test=None):
    """What a run is trained on, for its manifest.

    Args:
      vocabulary: Vocabulary. sessions: data.sessions.Sessions, or data.epochs.Share of a file that
      is read in parts.
      test: None, or evaluation.protocol.TestSet to validate with.
    Returns: dict: "train", SHA-256 of the indexed sessions; "validation", that of the validation
    sessions, or None; "events", "items", counts.
    """
    if isinstance(sessions, Share):
        trained, events = sessions.data
    else:
        trained, events = _digest_of(vocabulary, sessions), sessions.num_events
    held_out = None
    if test is not None:
        held_out = _digest([test.sessions.items, test.sessions.offsets, test.sessions.leading_skip])
    return {"train": trained, "validation": held_out, "events": events, "items": len(vocabulary)}


def same_training_data(data, saved, vocabulary, sessions):
    """Whether two `data_of` are of the same training events.

    One may be of a plain file, the other of the same file in parts.
    Args: data: of `vocabulary` and `sessions`. saved: of a manifest.
    """
    if data["train"] == saved["train"]:
        return True
    if not isinstance(sessions, Share) or not sessions.is_whole:
        return False
    return _digest_of(vocabulary, sessions.sessions) == saved["train"]


def _digest_of(vocabulary, sessions):
    arrays = vocabulary.to_arrays()
    return _digest([sessions.items, sessions.offsets] + [arrays[name] for name in sorted(arrays)])


def _digest(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(("%s %d " % (array.dtype.str, len(array))).encode("ascii"))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
