"""What the training loop does between the engine's calls, with stand-ins and without TensorFlow."""

import signal
import types

import numpy as np
import pytest

from gru4rec import config
from gru4rec.checkpoint.manifest import START, Position
from gru4rec.data import schedule
from gru4rec.engine import base
from gru4rec.errors import ClusterError, DivergenceError, Interrupted
from gru4rec.model import state
from gru4rec.parallel.workers import Workers
from gru4rec.training.log import TrainLog
from gru4rec.training.loop import Loop
from gru4rec.training.plan import plan_of
from gru4rec.training.saver import Saver
from tests.stand_ins import DEVICE

LANES = 2
# Each lane has two sessions of four targets: 8 steps.
SCHEDULE = schedule.build(np.arange(20, dtype=np.int32) % 5, np.arange(0, 21, 5), LANES)


class Engine(base.Engine):
    """Makes no steps but counts them; `events` is what it was asked for."""

    steps_per_run = 3

    def __init__(self, updates, events):
        self.updates, self.events = updates, events
        self.votes, self.loss = [], 1.0  # votes: what another process says, call by call

    def agree(self, *votes):
        other = self.votes.pop(0) if self.votes else (0, 0)
        return [own + theirs for own, theirs in zip(votes, other)]

    def run(self, chunk):
        self.updates += len(chunk.x)
        self.events.append(("run", chunk.first_step, len(chunk.x)))
        return np.full(len(chunk.x), self.loss)

    def arrays(self):
        return {state.GLOBAL_STEP: np.array(self.updates)}


class Recorder(Saver):
    """A Saver that writes nothing; it says what it would write."""

    def __init__(self, cfg, device, events):
        super().__init__(cfg, device, None, 0, None)
        self.events = events

    def not_finite(self, arrays):
        return "softmax_w"

    def save(self, arrays, position, is_moment):
        self.events.append(("save", int(arrays[state.GLOBAL_STEP]), position.epoch,
                            position.steps, is_moment))
        self._path, self.saved_step = "somewhere", int(arrays[state.GLOBAL_STEP])


class Stop:
    """Stands for a StopRequest; a signal comes at that check."""

    def __init__(self, at=None):
        self.at, self.seen = at, 0

    def check(self):
        self.seen += 1
        if self.seen == self.at:
            raise Interrupted(signal.SIGINT)


class Measured:
    """Stands for a Validation that ends the run after an epoch."""

    best_epoch = 0

    def __init__(self, last, events):
        self.last, self.events = last, events

    def add(self, epoch, arrays):
        self.events.append(("validate", epoch))

    def is_over(self, epoch):
        return epoch == self.last


class Run:
    """A loop and its stand-ins; `events` is what happened in it."""

    def __init__(self, tmp_path, position=START, updates=0, stop=None, last=None, device=DEVICE,
                 **flags):
        flags = dict(dict(epoch=2, log_every=100, checkpoint_dir=tmp_path), **flags)
        cfg = config.from_flags({name: str(value) for name, value in flags.items()})
        self.events = []
        self.engine = Engine(updates, self.events)
        self.saver = Recorder(cfg, device, self.events)
        validation = None if last is None else Measured(last, self.events)
        self.saver.record_validation = lambda epoch: self.events.append(("record", epoch))
        plan = plan_of(cfg, position, updates, SCHEDULE.num_steps, SCHEDULE.num_steps)
        self.loop = Loop(plan, self.engine, TrainLog(cfg, position), self.saver, Stop(stop),
                         validation=validation)

    def __call__(self):
        epoch = SCHEDULE, int(SCHEDULE.weight.sum())
        self.loop.run(epoch, epoch)
        return self.events


def test_each_epoch_is_made_in_calls_and_saved(tmp_path):
    assert SCHEDULE.num_steps == 8
    assert Run(tmp_path)() == [
        ("run", 1, 1), ("run", 2, 3), ("run", 5, 3), ("run", 8, 1), ("save", 8, 0, 8, False),
        ("run", 9, 3), ("run", 12, 3), ("run", 15, 2), ("save", 16, 1, 8, False)]


def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path):
    assert Run(tmp_path, Position(1, 5, 5.0, 1.0), 13)() == [
        ("run", 14, 3), ("save", 16, 1, 8, False)]


def test_an_epoch_is_saved_before_it_is_validated_and_validation_may_end_the_run(tmp_path):
    events = Run(tmp_path, last=1, epoch=5)()
    assert [event for event in events if event[0] != "run"] == [
        ("save", 8, 0, 8, False), ("validate", 0), ("record", 0),
        ("save", 16, 1, 8, False), ("validate", 1), ("record", 1)]


def test_a_moment_is_saved_between_two_calls(tmp_path):
    events = Run(tmp_path, epoch=1, save_every=4)()
    assert events == [("run", 1, 1), ("run", 2, 3), ("save", 4, 0, 4, True), ("run", 5, 3),
                      ("run", 8, 1), ("save", 8, 0, 8, False)]


def test_a_moment_that_another_process_asks_for_is_saved_too(tmp_path):
    run = Run(tmp_path, epoch=1)
    run.engine.votes = [(0, 0), (0, 1)]
    assert run()[1] == ("save", 1, 0, 1, True)


@pytest.mark.parametrize("own", [True, False])
def test_a_signal_to_any_process_stops_all_and_is_saved(tmp_path, own):
    run = Run(tmp_path, stop=3 if own else None)
    run.engine.votes = [] if own else [(0, 0), (0, 0), (15, 0)]
    with pytest.raises(Interrupted, match="interrupted; saved somewhere; go on with: ") as caught:
        run()
    assert caught.value.signal_number == (signal.SIGINT if own else signal.SIGTERM)
    assert run.events == [("run", 1, 1), ("run", 2, 3), ("save", 4, 0, 4, True)]


def test_where_hidden_states_cannot_be_collected_a_signal_saves_nothing(tmp_path):
    device = types.SimpleNamespace(workers=Workers(2, 0), communicator=DEVICE.communicator)
    run = Run(tmp_path, stop=3, device=device)
    with pytest.raises(Interrupted, match="checkpoints of finished epochs are complete"):
        run()
    assert run.events == [("run", 1, 1), ("run", 2, 3)]


def test_what_was_trained_is_saved_when_another_process_is_gone(tmp_path, monkeypatch):
    run = Run(tmp_path, Position(1, 5, 5.0, 1.0, workers=2), 13, batch_size=LANES)
    monkeypatch.setattr(state, "without_hidden", lambda arrays, *_: arrays)

    def gone(chunk):
        raise ClusterError("worker 1 is gone")

    saved = []
    run.engine.run, run.engine.rescued = gone, run.engine.arrays
    run.saver.save = lambda arrays, position, is_moment: saved.append((position, is_moment))
    with pytest.raises(ClusterError, match="worker 1 is gone; nothing was saved"):
        run()
    assert saved == [(Position(1, 0, 0.0, 0.0, 2, ((2, LANES, 5),)), True)]


def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(tmp_path):
    run = Run(tmp_path, Position(1, 5, 5.0, 1.0), 13)
    run.engine.loss = np.nan
    with pytest.raises(DivergenceError, match=r"the loss is nan at step 14 \(epoch 1\), softmax_w "
                                              "is not finite either; checkpoints saved before"):
        run()
    assert run.events == [("run", 14, 3)]
