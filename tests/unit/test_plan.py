"""What a training will do: epochs, steps, ends of calls; answers by hand, no TensorFlow."""

import logging

import pytest

from gru4rec import config
from gru4rec.checkpoint.manifest import START, Position
from gru4rec.errors import ConfigError
from gru4rec.model import state
from gru4rec.training.plan import PlannedEpoch, divided, interval, next_line, plan_of, redivided


def make(position=START, updates=0, first=20, other=20, **flags):
    flags = {name: str(value) for name, value in dict(dict(epoch=3), **flags).items()}
    return plan_of(config.from_flags(flags), position, updates, first, other)


def calls(plan, number, most, start=0, whole_calls=False):
    """Ends of the calls of an epoch."""
    epoch = list(plan.epochs())[number]
    ends = []
    while start < epoch.num_steps:
        start = plan.call_end(epoch, start, most, whole_calls)
        ends.append(start)
    return ends


def test_a_new_run_has_every_epoch():
    plan = make()
    assert list(plan.epochs()) == [PlannedEpoch(0, 0, 20), PlannedEpoch(1, 20, 20),
                                      PlannedEpoch(2, 40, 20)]
    assert plan.num_steps == 60


def test_a_run_that_goes_on_has_the_rest():
    plan = make(Position(1, 10, 0.0, 0.0), 30)
    assert list(plan.epochs()) == [PlannedEpoch(1, 20, 20), PlannedEpoch(2, 40, 20)]
    assert plan.num_steps == 60
    plan = make(Position(2, 20, 0.0, 0.0), 60)  # all its steps are made; it is not validated yet
    assert list(plan.epochs()) == [PlannedEpoch(2, 40, 20)] and plan.num_steps == 60


def test_an_epoch_that_is_laid_out_anew_may_have_another_length():
    position = redivided(Position(1, 10, 3.5, 2.0), 4, 10)
    plan = make(position, 30, first=7, other=13)
    assert list(plan.epochs()) == [PlannedEpoch(1, 30, 7), PlannedEpoch(2, 37, 13)]
    assert plan.num_steps == 50


def test_more_steps_than_can_be_counted_are_refused():
    first = state.MAX_STEPS - 20
    assert make(first=first, epoch=2).num_steps == state.MAX_STEPS
    with pytest.raises(ConfigError, match="--epoch 2 makes %d steps; at most %d are possible"
                       % (state.MAX_STEPS + 1, state.MAX_STEPS)):
        make(first=first + 1, epoch=2)


@pytest.mark.parametrize("flags, number, most, ends", [
    (dict(log_every=100), 0, 8, [1, 9, 17, 20]),  # step 1 is logged
    (dict(log_every=100), 1, 8, [8, 16, 20]),
    (dict(log_every=6), 0, 8, [1, 6, 12, 18, 20]),
    (dict(log_every=6), 1, 8, [4, 10, 16, 20]),  # 24, 30, 36 of the run
    (dict(log_every=100, save_every=9), 0, 50, [1, 9, 18, 20]),
    (dict(log_every=100, save_every=9), 2, 50, [5, 14, 20]),  # 45, 54
    (dict(log_every=100, save_every="9s"), 2, 50, [20])])
def test_a_call_ends_at_a_log_line_and_where_a_save_is_due(flags, number, most, ends):
    assert calls(make(**flags), number, most) == ends


def test_a_call_that_must_be_whole_ends_with_the_epoch_only():
    assert calls(make(log_every=3, save_every=5), 0, 8, whole_calls=True) == [8, 16, 20]


def test_calls_go_on_in_the_middle_of_an_epoch():
    plan = make(Position(1, 10, 0.0, 0.0), 30, log_every=7)
    assert calls(plan, 0, 50, start=10) == [15, 20]  # 35, 40


def test_step_1_is_logged_and_then_each_multiple():
    assert [next_line(done, 5) for done in (0, 1, 4, 5, 9, 10)] == [1, 5, 5, 10, 10, 15]


@pytest.mark.parametrize("text, expected", [(None, (None, None)), ("12", (12, None)),
                                            ("90s", (None, 90.0))])
def test_an_interval_is_of_steps_or_of_seconds(text, expected):
    assert interval(text) == expected


def test_another_number_of_workers_lays_out_the_rest_of_the_epoch_anew(caplog):
    begun = Position(1, 10, 3.5, 2.0, workers=2, divisions=((3, 4, 5),), mean_loss=0.5)
    with caplog.at_level(logging.INFO, "gru4rec"):
        assert divided(begun, 2, 4) == begun
        assert divided(Position(1, 0, 0.0, 0.0), 2, 4) == Position(1, 0, 0.0, 0.0, workers=2)
        assert caplog.text == ""
        assert divided(begun, 1, 4) == Position(1, 0, 0.0, 0.0, 1, ((3, 4, 5), (2, 4, 10)), 0.5)
    assert "epoch 1 was begun by 2 processes and goes on with 1" in caplog.text
