"""Where a resumed run goes on, which flags may differ, what is saved; without TensorFlow."""

import errno
import json
import logging
import os
import shutil
import time
import types

import numpy as np
import pytest

from gru4rec import checkpoint, config
from gru4rec.checkpoint import bundle_writer
from gru4rec.checkpoint import manifest as manifests
from gru4rec.checkpoint import names as names_module
from gru4rec.checkpoint.manifest import Position
from gru4rec.data.sessions import Sessions
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError, ConfigError, DivergenceError
from gru4rec.model import state
from gru4rec.training import fingerprint, resume, validation
from gru4rec.training.directory import RunDirectory
from gru4rec.training.saver import Saver
from gru4rec.training.start import FRESH
from tests.stand_ins import DEVICE

VOCABULARY = Vocabulary(np.arange(3), np.array([2, 1, 1]))
SESSIONS = Sessions(np.array([0, 1, 2, 0], np.int32), np.array([0, 2, 4]))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    """Tensor files of a few bytes instead of TensorFlow's."""
    def write(prefix, arrays):
        for ending in bundle_writer.ENDINGS:
            with open(prefix + ending, "wb") as out:
                out.write(b"%d" % arrays[state.GLOBAL_STEP])

    monkeypatch.setattr(bundle_writer, "write", write)


def make(tmp_path, *flags):
    return config.parse([str(f) for f in flags] + ["--checkpoint_dir", str(tmp_path), "--size", "4",
                                                   "--batch_size", "2"])


def arrays(cfg, step):
    found = state.initial(cfg, 3)
    found[state.GLOBAL_STEP] = np.array(step)
    return found


class Measured:
    """As much of training.validation.Validation as a Saver needs."""

    def __init__(self, *values):
        self.values, self.best_epoch = list(values), None

    def record(self, epoch):
        known = [v for v in self.values[:epoch + 1]]
        best = max(known) if known else None
        self.best_epoch = known.index(best) if known else None
        return {"metric": "recall@20", "value": known[epoch] if epoch < len(known) else None,
                "best_epoch": self.best_epoch,
                "best_value": best, "values": known}


def saver(cfg, validation_=None, phase="train"):
    return Saver(cfg, DEVICE, VOCABULARY, 100, lambda: fingerprint.data_of(VOCABULARY, SESSIONS),
                 phase, validation_)


def save(cfg, epoch, step, is_moment=False, validation_=None, phase="train"):
    saver(cfg, validation_, phase).save(arrays(cfg, step),
                                        Position(epoch, step - 10 * epoch, 1.5, 2.0), is_moment)


def find(asked):
    with RunDirectory(asked.run.checkpoint_dir) as directory:
        return resume.find(asked, directory)


def ask(cfg, *flags):
    return config.parse([str(f) for f in flags] + ["--resume", "1", "--checkpoint_dir",
                                                   cfg.run.checkpoint_dir])


def test_nothing_to_resume_is_said_and_a_run_begins(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "gru4rec"):
        start = find(make(tmp_path / "none"))
    assert start.origin is FRESH and "nothing to resume in" in caplog.text


def test_flags_that_are_not_given_are_those_of_the_run(tmp_path):
    cfg = make(tmp_path, "--lr", 0.5, "--epoch", 7, "--train_path", "a.tsv", "--log_every", 3,
               "--device", "cpu")
    save(cfg, 1, 13, is_moment=True)
    start = find(ask(cfg, "--log_every", 9, "--train_path", "b.tsv"))
    assert start.origin.name == names_module.Name(1, 13) and not start.is_finished
    assert start.origin.position == Position(1, 3, 1.5, 2.0)
    found = start.config
    assert (found.training, found.model) == (cfg.training, cfg.model)
    assert (found.run.log_every, found.run.device, found.data.train_path) == (9, "cpu", "b.tsv")


@pytest.mark.parametrize("flags, words", [
    (["--lr", 0.1], ["--lr 0.1", "--lr 0.001"]), (["--seed", 3], ["--seed 3", "--seed 0"]),
    (["--size", 5], ["--size 5", "--size 4"]), (["--layer", 2], ["--layer 2", "--layer 1"]),
    (["--dropout", 0.2], ["--dropout 0.2", "--dropout 0.5"]),
    (["--batch_size", 3], ["--batch_size 3", "--batch_size 2"]),
    (["--valid_days", 2], ["--valid_days 2.0", "--valid_days None"]),
    (["--preset", "fast"], ["--preset fast", "None"]),
    (["--init_from", "x"], ["--init_from x", "--init_from None"]),
    (["--epoch", 1], ["--epoch 1", "epoch 1 already", "(--epoch 3)"])])
def test_a_flag_that_changes_numbers_and_differs_is_named_with_both_values(tmp_path, flags, words):
    cfg = make(tmp_path)
    save(cfg, 1, 13, is_moment=True)
    with pytest.raises(ConfigError) as caught:
        find(ask(cfg, *flags))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("flags", [
    ["--size", 4], ["--layer", 1], ["--size", "4", "--layer", 1], ["--dropout", "0.5"],
    ["--lr", "1e-3"],
    ["--tie", "standard"], ["--cut_off", 5], ["--engine", "plain"], ["--keep", 2]])
def test_flags_that_say_the_same_or_change_no_number_are_taken(tmp_path, flags):
    cfg = make(tmp_path)
    save(cfg, 1, 13, is_moment=True)
    assert find(ask(cfg, *flags)).origin.name == names_module.Name(1, 13)


def test_one_size_stands_for_each_layer(tmp_path):
    cfg = make(tmp_path, "--layer", 2)
    save(cfg, 0, 10)
    assert find(ask(cfg, "--size", 4, "--dropout", 0.5)).origin.name == names_module.Name(0)
    with pytest.raises(ConfigError, match="--size 4,5 contradicts"):
        find(ask(cfg, "--size", "4,5"))


def test_what_a_validation_measures_by_must_stay(tmp_path):
    cfg = make(tmp_path, "--valid_fraction", 0.5)
    save(cfg, 0, 10, validation_=Measured(0.5))
    with pytest.raises(ConfigError, match="--cut_off 5 contradicts .*--cut_off 20"):
        find(ask(cfg, "--cut_off", 5))
    assert find(ask(cfg, "--eval_batch_size", 5)).config.evaluation.eval_batch_size == 5


def test_the_end_of_an_epoch_is_the_start_of_the_next_and_the_last_is_the_end(tmp_path):
    cfg = make(tmp_path, "--epoch", 2)
    save(cfg, 0, 10)
    start = find(ask(cfg))
    assert start.origin.position == Position(1, 0, 0.0, 0.0) and not start.is_finished
    save(cfg, 1, 20)
    assert find(ask(cfg)).is_finished
    longer = find(ask(cfg, "--epoch", 5))
    assert longer.origin.position == Position(2, 0, 0.0, 0.0) and longer.config.training.epoch == 5


@pytest.mark.parametrize("is_moment", [False, True])
def test_what_a_loss_is_compared_with_is_kept_to_the_last_bit(tmp_path, is_moment):
    cfg, known = make(tmp_path, "--epoch", 5), dict(mean_loss=1.0 / 3.0, best_loss=0.1 + 0.2)
    saver(cfg).save(arrays(cfg, 14), Position(1, 4, 1.5, 2.0, **known), is_moment)
    found = find(ask(cfg)).origin.position
    assert (found.mean_loss, found.best_loss) == (known["mean_loss"], known["best_loss"])
    assert (found.epoch, found.steps) == ((1, 4) if is_moment else (2, 0))


def test_an_epoch_whose_validation_did_not_end_is_validated(tmp_path):
    cfg = make(tmp_path, "--valid_fraction", 0.5, "--epoch", 2)
    save(cfg, 1, 20, validation_=Measured(0.5))
    start = find(ask(cfg))
    assert start.origin.position == Position(1, 10, 1.5, 2.0) and not start.is_finished
    checkpoint.record_validation(str(tmp_path), 1, Measured(0.5, 0.4).record(1))
    assert find(ask(cfg)).is_finished


def test_patience_that_is_over_ends_a_run_for_good(tmp_path):
    cfg = make(tmp_path, "--valid_fraction", 0.5, "--epoch", 9, "--patience", 2)
    for epoch in range(3):
        save(cfg, epoch, 10 * epoch + 10, validation_=Measured(0.5, 0.4, 0.3))
        assert find(ask(cfg)).is_finished == (epoch == 2)
    assert find(ask(cfg, "--epoch", 99)).is_finished


def test_the_second_part_of_a_refit_is_found_in_every_state(tmp_path):
    cfg = make(tmp_path, "--valid_fraction", 0.5, "--epoch", 2, "--refit", 1)
    for epoch in range(2):
        save(cfg, epoch, 10 * epoch + 10, validation_=Measured(0.4, 0.5))
    start = find(ask(cfg))  # validated, and no more
    assert start.refit.best_epoch == 1 and start.origin.position is None
    assert not start.config.validation.is_on
    assert start.refit.summary == "epoch 1 was the best of 2 trained (validation Recall@20: 0.5000)"
    with RunDirectory(str(tmp_path)) as directory:
        (tmp_path / "refit.json").write_text(start.refit.text())  # and no more
        assert resume.find(ask(cfg), directory) == start
        directory.begin(start.refit.text())
    start = find(ask(cfg))  # the first part moved aside
    assert start.phase == "refit" and start.origin is FRESH
    assert os.listdir(str(tmp_path / "previous-1"))
    save(start.config, 0, 4, is_moment=True, phase="refit")
    again = find(ask(cfg))
    assert again.origin.name == names_module.Name(0, 4)
    assert again.config.training == start.config.training
    with pytest.raises(ConfigError, match="--epoch 9 contradicts .*--epoch 2"):
        find(ask(cfg, "--epoch", 9))
    save(start.config, 1, 20, phase="refit")
    assert find(ask(cfg)).is_finished


@pytest.mark.parametrize("text",
                         ["", "[]", "{}", '{"best_epoch": true, "summary": "", "config": {}}',
                          "[" * 9999])
def test_a_damaged_mark_of_the_second_part_is_one_line(tmp_path, text):
    (tmp_path / "refit.json").write_text(text)
    with pytest.raises(CheckpointError, match="refit.json is damaged"):
        find(make(tmp_path))


def test_the_newest_that_is_damaged_is_reported_and_the_one_before_it_used(tmp_path, caplog):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    save(cfg, 1, 13, is_moment=True)
    save(cfg, 1, 17, is_moment=True)
    (tmp_path / "gru-model-1-step17.index").write_bytes(b"x")
    (tmp_path / "gru-model-1-step13.json").write_text("{")
    with caplog.at_level(logging.WARNING, "gru4rec"):
        assert find(ask(cfg)).origin.name == names_module.Name(0)
    text = [record.getMessage() for record in caplog.records]
    assert len(text) == 2 and "gru-model-1-step17.index is damaged" in text[0]
    assert "step13.json is damaged" in text[1]
    assert all(line.endswith("the one before it is used") for line in text)
    (tmp_path / "vocabulary.npz").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="step17.index is damaged.*use another epoch"):
        find(ask(cfg))
    assert names_module.listing(str(tmp_path)) == [names_module.Name(0), names_module.Name(1, 13),
                                                   names_module.Name(1, 17)]


def test_evaluation_prefers_the_end_of_an_epoch_and_takes_a_moment_where_there_is_none(tmp_path,
                                                                                       caplog):
    cfg = make(tmp_path)
    save(cfg, 0, 4, is_moment=True)
    with caplog.at_level(logging.INFO, "gru4rec"):
        assert checkpoint.pick(str(tmp_path))[0] == names_module.Name(0, 4)
    assert "no epoch is finished" in caplog.text
    save(cfg, 0, 10)
    save(cfg, 1, 14, is_moment=True)
    assert checkpoint.pick(str(tmp_path))[0] == names_module.Name(0)


def test_other_events_are_refused_and_both_files_named(tmp_path):
    cfg = make(tmp_path, "--train_path", "a.tsv")
    save(cfg, 1, 13, is_moment=True)
    start = find(ask(cfg, "--train_path", "b.tsv"))

    def check(*data):
        start.origin.check_data(start.config, *data)

    check(VOCABULARY, SESSIONS)
    for other in (Sessions(SESSIONS.items[::-1].copy(), SESSIONS.offsets),
                  Sessions(SESSIONS.items, np.array([0, 4]))):
        with pytest.raises(CheckpointError,
                           match="--train_path b.tsv does not hold .*--train_path a.tsv;"):
            check(VOCABULARY, other)
    with pytest.raises(CheckpointError):
        check(Vocabulary(np.arange(3), np.array([2, 1, 2])), SESSIONS)


def test_other_events_to_validate_with_are_refused(tmp_path):
    def held_out(*items):
        return types.SimpleNamespace(sessions=types.SimpleNamespace(
            items=np.array(items, np.int32), offsets=np.array([0, 2]), leading_skip=np.zeros(1)))

    cfg = make(tmp_path, "--valid_path", "v.tsv")
    Saver(cfg, DEVICE, VOCABULARY, 100,
          lambda: fingerprint.data_of(VOCABULARY, SESSIONS, held_out(0, 1)),
          validation=Measured(0.5)).save(arrays(cfg, 10), Position(0, 10, 1.5, 2.0), False)
    start = find(ask(cfg, "--valid_path", "w.tsv"))
    start.origin.check_data(start.config, VOCABULARY, SESSIONS, held_out(0, 1))
    with pytest.raises(CheckpointError,
                       match="--valid_path w.tsv does not hold .*--valid_path v.tsv;"):
        start.origin.check_data(start.config, VOCABULARY, SESSIONS, held_out(1, 0))


# --- saving ---------------------------------------------------------------------------------------

def test_when_a_save_is_due(tmp_path, monkeypatch):
    none, steps, seconds = (saver(make(tmp_path, *flags))
                            for flags in ([], ["--save_every", 4], ["--save_every", "90s"]))
    assert [s.is_due(8) for s in (none, steps, seconds)] == [False, True, False]
    steps.saved_step = 8
    assert [steps.is_due(done) for done in (9, 12, 14)] == [False, True, True]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 91)
    assert seconds.is_due(9) and not none.is_due(9)


@pytest.mark.parametrize("text", ["0", "0s", "-1", "1.5s", "s", "5m", "", "1" * 12])
def test_an_interval_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--save_every"):
        config.parse(["--save_every", text])


@pytest.mark.parametrize("keep, left",
                         [(0, "0 1 2 3 s38 s39"), (1, "1 3 s39"), (2, "1 2 3 s38 s39"),
                                        (9, "0 1 2 3 s37 s38 s39")])
def test_what_stays(tmp_path, keep, left):
    """Of the epochs the newest ones and the best, of the moments within one the newest ones."""
    cfg = make(tmp_path)
    for epoch in range(4):
        save(cfg, epoch, 10 * epoch + 10)
    for step in (37, 38, 39):
        checkpoint.save(str(tmp_path), cfg, VOCABULARY, arrays(cfg, step), 3, 100, is_moment=True)
    names_module.prune(str(tmp_path), keep, spare=1)
    names = names_module.listing(str(tmp_path))
    assert sorted(("%d" % n.epoch if n.is_epoch else "s%d" % n.step) for n in names) == left.split()
    for name in names:
        checkpoint.verified(str(tmp_path), name)


@pytest.mark.parametrize("name", ["softmax_w", "gru_layer_0/gates/bias", "state/layer_0"])
def test_what_is_not_finite_is_never_saved(tmp_path, name):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    bad = arrays(cfg, 20)
    bad[name].ravel()[1] = np.inf
    with pytest.raises(DivergenceError,
                       match="%s is not finite after step 20 .epoch 1.*--lr" % name):
        saver(cfg).save(bad, Position(1, 10, 0.0, 0.0), False)
    assert names_module.listing(str(tmp_path)) == [names_module.Name(0)]


def everything(directory):
    found = {}
    for name in os.listdir(str(directory)):
        with open(os.path.join(str(directory), name), "rb") as file:
            found[name] = file.read()
    return found


@pytest.mark.parametrize("call", range(14))
@pytest.mark.parametrize("function", ["replace", "fsync", "remove", "write"])
def test_a_disk_that_refuses_any_of_its_calls_leaves_the_earlier_checkpoints(tmp_path, monkeypatch,
                                                                             function, call):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    before, calls = everything(tmp_path), []
    real = bundle_writer.write if function == "write" else getattr(os, function)

    def refuse(*args):
        calls.append(args)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(*((bundle_writer, "write",
                           refuse) if function == "write" else (os, function, refuse)))
    try:
        save(cfg, 1, 20)
        failed = False
    except CheckpointError as error:
        assert "gru-model-1 cannot be written: [Errno 28]" in str(error)
        failed = True
    monkeypatch.undo()
    assert failed == (len(calls) > call), "the call was made and its error passed over"
    after = everything(tmp_path)
    assert {name: after[name] for name in before if name != "checkpoint"} == {
        name: content for name, content in before.items() if name != "checkpoint"}
    assert not [name for name in after if name.startswith(".tmp")]
    for name in names_module.listing(str(tmp_path)):  # absent or complete
        checkpoint.verified(str(tmp_path), name)
    if not failed:
        assert names_module.listing(str(tmp_path))[-1] == names_module.Name(1)


def test_a_checkpoint_of_the_same_name_is_replaced_and_never_half_there(tmp_path, monkeypatch):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    (tmp_path / "gru-model-0.index").write_bytes(b"damaged")
    save(cfg, 0, 10)
    checkpoint.verified(str(tmp_path), names_module.Name(0))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(CheckpointError):
        save(cfg, 0, 11)
    assert names_module.listing(str(tmp_path)) == []


def test_a_step_that_is_saved_is_not_saved_again(tmp_path, monkeypatch):
    cfg = make(tmp_path)
    writer = saver(cfg)
    writer.save(arrays(cfg, 4), Position(0, 4, 0.0, 0.0), True)
    monkeypatch.setattr(checkpoint, "save", lambda *_, **__: pytest.fail("saved again"))
    writer.save(arrays(cfg, 4), Position(0, 4, 0.0, 0.0), True)


def test_what_the_manifest_says_of_a_validation_is_what_it_goes_on_with(tmp_path):
    cfg = make(tmp_path, "--valid_fraction", 0.5)
    measured = validation.Validation(cfg, None, None)
    measured._values, measured.best_epoch = {0: 0.1, 1: 0.3, 2: 0.2}, 1
    again = validation.Validation(cfg, None, None)
    again.restore(json.loads(json.dumps(measured.record(2))))
    assert again.record(3) == measured.record(3) and again.summary() == measured.summary()


def test_a_manifest_without_a_position_can_be_evaluated_but_not_resumed(tmp_path):
    cfg = make(tmp_path)
    checkpoint.save(str(tmp_path), cfg, VOCABULARY, arrays(cfg, 10), 0, 30)
    assert checkpoint.pick(str(tmp_path))[0] == names_module.Name(0)
    with pytest.raises(CheckpointError, match="gru-model-0 cannot be resumed"):
        find(ask(cfg))


def test_rows_a_resumed_run_writes_again_are_dropped(tmp_path):
    from gru4rec.runlog.rows import Metrics
    rows = [{"kind": "train", "step": 10, "epoch": 0}, {"kind": "epoch", "epoch": 0},
            {"kind": "valid", "epoch": 0},
            {"kind": "eval", "epoch": 9, "step": 99}, {"kind": "train", "step": 13, "epoch": 1}]
    later = [{"kind": "train", "step": 14, "epoch": 1}, {"kind": "epoch", "epoch": 1},
             {"kind": "valid", "epoch": 1}]
    log = Metrics(str(tmp_path))
    log.rewind(0, 0)
    assert os.listdir(str(tmp_path)) == []
    for row in rows + later:
        log.add(**row)
    with open(str(tmp_path / "metrics.jsonl"), "a") as out:
        out.write('{"kind": "tra')  # cut short by a kill
    log.rewind(1, 13)
    assert [json.loads(line)
            for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows


def test_amending_changes_a_manifest_and_keeps_its_checksum_right(tmp_path):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    path = str(tmp_path / "gru-model-0.json")
    before = manifests.read(path)
    manifests.amend(path, num_steps=77)
    after = manifests.read(path)
    assert after.pop("num_steps") == 77 and before.pop("num_steps") == 100
    assert after.pop("sha256") != before.pop("sha256") and after == before


# --- killed on the way


class Killed(BaseException):
    """What stands for SIGKILL: from the call at which it is raised no file changes any more."""


def dies_at(monkeypatch, call):
    """From the call-th one (0-based) on, each os.replace, os.remove and rmtree raises Killed."""
    left = [call]

    def dying(real):
        def wrapper(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **kwargs)
        return wrapper

    for module, name in ((os, "replace"), (os, "remove"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, dying(getattr(module, name)))


def of_checkpoints(directory):
    return sorted(n for n in os.listdir(str(directory)) if n.startswith("gru-model"))


@pytest.mark.parametrize("call", range(5))
def test_a_checkpoint_whose_removal_is_killed_leaves_no_file(tmp_path, monkeypatch, call):
    cfg, old, new = make(tmp_path), names_module.Name(1, 13), names_module.Name(1, 15)
    save(cfg, 1, 13, is_moment=True)
    save(cfg, 1, 15, is_moment=True)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        dies_at(patch, call)
        names_module.remove(str(tmp_path), [old])
        raise Killed
    assert find(ask(cfg)).origin.saved.name == new
    left = [new] if call else [old, new]  # before the first call nothing has happened
    assert of_checkpoints(tmp_path) == sorted(part for name in left for part in name.files())


@pytest.mark.parametrize("call", range(5))
def test_a_checkpoint_whose_writing_is_killed_leaves_all_files_or_none(tmp_path, monkeypatch, call):
    cfg = make(tmp_path)
    save(cfg, 0, 10)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        dies_at(patch, call)
        save(cfg, 1, 15, is_moment=True)
        raise Killed
    name = find(ask(cfg)).origin.saved.name
    names = [names_module.Name(0)] + [name] * (not name.is_epoch)
    assert of_checkpoints(tmp_path) == sorted(part for name in names for part in name.files())


def test_moments_of_a_run_that_was_killed_at_its_very_end_are_removed(tmp_path):
    cfg = make(tmp_path, "--epoch", 2)
    save(cfg, 1, 20)
    checkpoint.save(str(tmp_path), cfg, VOCABULARY, arrays(cfg, 15), 1, 100, is_moment=True)
    assert not find(ask(cfg, "--epoch", 3)).is_finished  # it goes on: they stay
    assert len(names_module.listing(str(tmp_path))) == 2
    assert find(ask(cfg)).is_finished
    assert names_module.listing(str(tmp_path)) == [names_module.Name(1)]
