"""What a run was trained on, as counts and SHA-256: whether a later run has the same events."""

import hashlib

import numpy as np

from gru4rec.data.epochs import Share


def data_of(vocabulary, sessions, test=None):
    """What a run is trained on, for its manifest: counts, and SHA-256 of indexed sessions and of
    validation sessions.

    Args:
      vocabulary: Vocabulary. sessions: data.sessions.Sessions, or data.epochs.Share of a file that
      is read in parts.
      test: None, or evaluation.protocol.TestSet to validate with.
    """
    if isinstance(sessions, Share):
        trained, events = sessions.data
    else:
        trained, events = _digest_of(vocabulary, sessions), sessions.num_events
    held_out = None if test is None else _digest([test.sessions.items, test.sessions.offsets,
                                                  test.sessions.leading_skip])
    return {"train": trained, "validation": held_out, "events": events, "items": len(vocabulary)}


def same_data(ours, theirs, vocabulary, sessions):
    """Whether two `data_of` speak of the same training events; one may be of a plain file, the
    other of the same in parts.

    Args: ours: of `vocabulary` and `sessions`. theirs: of a manifest.
    """
    if ours["train"] == theirs["train"]:
        return True
    return isinstance(sessions,
                      Share) and sessions.is_whole and _digest_of(vocabulary,
                                                                  sessions.sessions) == theirs["train"]


def _digest_of(vocabulary, sessions):
    arrays = vocabulary.to_arrays()
    return _digest([sessions.items, sessions.offsets] + [arrays[name] for name in sorted(arrays)])


def _digest(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(("%s %d " % (array.dtype.str, len(array))).encode("ascii"))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
