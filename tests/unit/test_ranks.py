"""Which of several devices a process is, and its share of the sessions. No TensorFlow."""

import numpy as np
import pytest

from gru4rec.data import epochs as epochs_module
from gru4rec.data import schedule
from gru4rec.data.sessions import Sessions
from gru4rec.errors import ConfigError
from gru4rec.parallel import workers
from tests.data_helpers import epoch_of

TABLE = {"RANK_SIZE": "8", "RANK_ID": "3", "JOB_ID": "1", "RANK_TABLE_FILE": "8p.json"}


def test_the_environment_says_which_rank_this_is():
    assert workers.from_environment(None, {}) == workers.ALONE == (1, 0)
    assert workers.from_environment(1, {"RANK_SIZE": "1", "RANK_ID": "0"}) == (1, 0)
    assert workers.from_environment(8, TABLE) == (8, 3)
    assert workers.from_environment(None,
                                    {"CM_WORKER_SIZE": "2", "RANK_ID": "1",
                                     "JOB_ID": "1"}) == (2, 1)


@pytest.mark.parametrize("change, npu_nums, words", [
    ({"CM_WORKER_SIZE": "8"}, None, ["RANK_SIZE 8", "CM_WORKER_SIZE 8", "not both"]),
    ({}, 4, ["--npu_nums 4", "RANK_SIZE 8"]), ({"JOB_ID": ""}, None, ["JOB_ID"]),
    ({"RANK_ID": ""}, None, ["RANK_ID"]),
    ({"RANK_TABLE_FILE": ""}, None, ["RANK_TABLE_FILE", "make_rank_table.py"]),
    ({"RANK_ID": "8"}, None, ["RANK_ID '8'"]), ({"RANK_SIZE": "x"}, None, ["RANK_SIZE 'x'"]),
    ({"RANK_SIZE": "0"}, None, ["RANK_SIZE '0'"])])
def test_an_environment_that_contradicts_itself_is_refused(change, npu_nums, words):
    with pytest.raises(ConfigError) as caught:
        workers.from_environment(npu_nums, dict(TABLE, **change))
    assert all(word in str(caught.value) for word in words)


def made(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sessions(np.arange(offsets[-1], dtype=np.int32), offsets)


def test_each_session_goes_to_one_rank():
    sessions = made([2, 3, 4, 2, 5])
    assert epochs_module.shard(sessions, workers.ALONE) is sessions
    first, second = (epochs_module.shard(sessions, workers.Workers(2, rank)) for rank in (0, 1))
    assert first.items.tolist() == [0, 1, 5, 6, 7, 8, 11, 12, 13, 14, 15]
    assert first.offsets.tolist() == [0, 2, 6, 11]
    assert second.items.tolist() == [2, 3, 4, 9, 10] and second.offsets.tolist() == [0, 3, 5]
    with pytest.raises(ConfigError, match="5 sessions cannot be shared by 8 devices"):
        epochs_module.shard(sessions, workers.Workers(8, 0))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_ranks_make_as_many_steps_and_every_target_once(size):
    sessions = made(np.random.RandomState(size).randint(2, 30, 50))
    epochs = [epoch_of(sessions, 3, workers.Workers(size, rank)) for rank in range(size)]
    assert len({epoch.num_steps for epoch in epochs}) == 1
    assert any(epoch.weight[-1].any() for epoch in epochs)  # no step too many
    targets = np.concatenate([epoch.y[epoch.weight] for epoch in epochs])
    expected = np.setdiff1d(sessions.items, sessions.offsets[:-1])
    np.testing.assert_array_equal(np.sort(targets), expected)
    for epoch in epochs:
        assert isinstance(epoch, schedule.Epoch) and not epoch.x[~epoch.weight].any()
