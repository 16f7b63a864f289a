"""How several processes begin a run, without TensorFlow: a list stands for the network."""

import json

import numpy as np
import pytest

from gru4rec import config
from gru4rec.checkpoint.manifest import Position
from gru4rec.data.sessions import Sessions
from gru4rec.errors import CheckpointError, ClusterError, ConfigError
from gru4rec.parallel import workers
from gru4rec.training import resume, together
from gru4rec.training.start import Fresh, Start
from tests.data_helpers import vocabulary_of


class Wire:
    """Stands for collectives.Collectives of a rank; others: what the other ranks say, each time."""

    def __init__(self, rank, size, others):
        self.workers, self._others = workers.Workers(size, rank), list(others)

    def exchange(self, value):
        said = list(self._others.pop(0))
        said.insert(self.workers.rank, value)
        return said

    def name(self, rank):
        return "worker %d" % rank


def flags(**given):
    return config.from_flags(dict({"checkpoint_dir": "run"}, **given))


def said_by_rank_0(asked):
    """What rank 0 says in `agreed` of a new run."""
    heard = []

    class Listening(Wire):
        def exchange(self, value):
            heard.append(value)
            return [value, value]

    together.agreed(asked, Start(asked), Listening(0, 2, []))
    return heard[0]


@pytest.mark.parametrize("given, factor", [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_the_learning_rate_is_scaled_once_when_a_run_begins(given, factor):
    asked = flags(lr="0.5", lr_scale=given)
    assert asked.training.base_lr == 0.5  # one process alone
    others = [together._common(asked)] * 3
    start = together.agreed(asked, Start(asked),
                            Wire(0, 4, [[{"asked": other, "given": []} for other in others]]))
    assert start.config.training.lr == 0.5 and start.config.training.base_lr == 0.5 * factor
    begun = config.from_dict(start.config.to_dict())
    # the words may be given again
    goes_on = resume.continued(flags(lr="0.5", lr_scale=given), begun)
    assert goes_on.training.base_lr == 0.5 * factor


def test_other_ranks_have_what_rank_0_has_but_for_where_their_files_lie():
    first = flags(train_path="a.tsv", lr_scale="linear")
    own = flags(train_path="b.tsv", checkpoint_dir="elsewhere", lr_scale="linear")
    start = together.agreed(own, None, Wire(1, 2, [[said_by_rank_0(first)]]))
    assert start.config.training.base_lr == 0.002
    assert (start.config.data.train_path, start.config.run.checkpoint_dir) == ("b.tsv", "elsewhere")
    assert start.origin.position is None and start.origin.base_vocabulary() is None
    assert not start.is_finished


def test_a_path_that_is_not_given_is_that_of_rank_0():
    start = together.agreed(flags(), None,
                            Wire(1, 2, [[said_by_rank_0(flags(train_path="a.tsv"))]]))
    assert start.config.data.train_path == "a.tsv"


@pytest.mark.parametrize("ours, theirs, words", [
    (dict(lr="0.2"), {}, "--lr is 0.001 in worker 0 and 0.2 in worker 1"),
    (dict(size="8,4"), {}, "--size is 100 in worker 0 and 8,4 in worker 1"),
    ({}, dict(save_every="9"), "--save_every is 9 in worker 0 and None in worker 1")])
def test_flags_that_differ_are_named_with_both_values(ours, theirs, words):
    with pytest.raises(ConfigError) as error:
        together.agreed(flags(**ours), None, Wire(1, 2, [[said_by_rank_0(flags(**theirs))]]))
    assert words in str(error.value) and "give every process the same flags" in str(error.value)


VOCABULARY = vocabulary_of(np.array([3, 5, 3]))
SESSIONS = Sessions(np.array([0, 1], np.int32), np.array([0, 2]))


def origin_of(rank, others, own=None, **answer):
    answer = dict(dict(record=None, fresh=True, position=None), **answer)
    return together.FromRankZero(answer, own, Wire(rank, 2, others))


def check_data(origin):
    origin.check_data(flags(), VOCABULARY, SESSIONS)


def test_every_rank_goes_on_at_the_position_of_rank_0():
    position = Position(1, 3, 1.5, 2.0, 2, ((3, 4, 5),), 1.0 / 3.0, 0.25)
    said = json.loads(json.dumps(position))
    assert origin_of(1, [], fresh=False, position=said).position == position


class OfWeights(Fresh):
    """What rank 0 goes on from."""

    def base_vocabulary(self):
        return VOCABULARY

    def arrays(self, config_, vocabulary):
        return {"a": np.ones((2, 3), np.float32), "global_step": np.array(7, np.int64)}


@pytest.mark.parametrize("rank, own, others", [(0, OfWeights(), []), (1, None, [3, 5])])
def test_every_rank_knows_the_items_of_rank_0(rank, own, others):
    vocabulary = origin_of(rank, [[others]], own, fresh=False).base_vocabulary()
    assert vocabulary.ids.tolist() == [3, 5] and vocabulary.is_integer


def test_items_of_rank_0_that_are_text_stay_text():
    vocabulary = origin_of(1, [[["3", "x"]]], fresh=False).base_vocabulary()
    assert vocabulary.ids.tolist() == ["3", "x"] and not vocabulary.is_integer


@pytest.mark.parametrize("rank, own, others", [
    (0, OfWeights(), []), (1, None, [["a", "<f4", [2, 3]], ["global_step", "<i8", []]])])
def test_every_rank_has_the_weights_of_rank_0(rank, own, others):
    origin = origin_of(rank, [[others]], own, fresh=False)
    given = []  # to the sum over the ranks, which is what rank 0 gives
    origin._communicator.shared = lambda array: given.append(array) or array
    arrays = origin.arrays(flags(), VOCABULARY)
    expected = OfWeights().arrays(None, None)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        name: (array.dtype, array.shape) for name, array in expected.items()}
    assert [array.any() for array in given] == [rank == 0] * 2


def test_processes_with_other_events_are_refused():
    words = r"worker 1 has other training events \(of 2 items\) than worker 0 \(of 9\)"
    with pytest.raises(ConfigError, match=words):
        check_data(origin_of(1, [[["other", 9, None]]]))


def test_what_rank_0_finds_wrong_is_said_by_all():
    with pytest.raises(ClusterError, match="worker 0 cannot go on: not the events of the run"):
        check_data(origin_of(1, [[["x", 2, "not the events of the run"]]]))

    class Wrong(Fresh):
        def check_data(self, *_):
            raise CheckpointError("not the events of the run")

    with pytest.raises(CheckpointError, match="not the events of the run"):
        check_data(origin_of(0, [[["x", 2, None]]], Wrong()))
