"""What several tests of the data need; imports no TensorFlow."""

from gru4rec.data.epochs import Epochs, share_of
from gru4rec.data.vocab import Vocabulary


def vocabulary_of(item_column):
    """Vocabulary of a training file's item column, int64 [E] or object [E] of str."""
    return Vocabulary.build_with_codes(item_column)[0]


def epoch_of(sessions, num_lanes, workers):
    """data.schedule.Epoch of one worker, from data.sessions.Sessions of all workers."""
    return Epochs(share_of(sessions, workers), num_lanes, workers).whole
