"""The training loop: epochs over chunks; what is saved and when is `training.saver`'s, where it
starts `resume`'s.
"""

import contextlib
import logging
import os
import signal
import time

from gru4rec import engine
from gru4rec.checkpoint import manifest
from gru4rec.command.interrupts import StopRequest
from gru4rec.data.epochs import Epochs, Share, share_of
from gru4rec.engine import base
from gru4rec.errors import ClusterError, ConfigError, DivergenceError, Interrupted
from gru4rec.evaluation.baselines import rules
from gru4rec.model import divergence, state
from gru4rec.runlog.rows import Metrics
from gru4rec.training import fingerprint
from gru4rec.training import saver as saver_module
from gru4rec.training import start as start_module
from gru4rec.training.directory import RunDirectory
from gru4rec.training.log import TrainLog
from gru4rec.training.plan import divided

_log = logging.getLogger("gru4rec.train")


def train(config, device, vocabulary, sessions, progress=None, validation=None, start=None,
          directory=None):
    """Train and save every epoch.

    Args:
      config: config.Config. device: device.base.Device; of several that train together rank 0 alone
      writes.
      vocabulary: data.vocab.Vocabulary. sessions: data.sessions.Sessions of all ranks, or
      data.epochs.Share of this one.
      progress: None, or function (total steps) -> context manager with update(n), such as a tqdm
      bar.
      validation: None, or training.validation.Validation, which is told of every epoch and may end
      the training.
      start: None for fresh weights, or training.start.Start.
      directory: None, or training.directory.RunDirectory of --checkpoint_dir, entered.
    Raises: ConfigError for too many steps; Interrupted, after the chunk at hand is made and saved,
    if SIGINT or SIGTERM came;
      DivergenceError with the step at which the loss was no longer finite, or was absurd
      (`divergence`); ClusterError if a process is gone. Checkpoints before either stay.
    """
    found, together = device.workers, device.communicator
    _check_ranks(config, found, together.exchange is not None, isinstance(sessions, Share))
    writes = found.rank == 0
    share = sessions if isinstance(sessions, Share) else share_of(sessions, found)
    epochs = Epochs(share, config.training.batch_size, found, together.exchange)
    start = start or start_module.Start(config)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        directory = (directory
                     or stack.enter_context(RunDirectory(config.run.checkpoint_dir, writes)))
        arrays = start.arrays(vocabulary)
        resumed = start.position()
        workers = found.size if together.exchange else 1  # whose hidden states are saved
        position = divided(resumed or manifest.START, workers, config.training.batch_size)
        before = int(arrays[state.GLOBAL_STEP]) - position.steps
        epoch, num_targets = epochs.of(position.divisions)
        num_steps = (before + epoch.num_steps
                     + epochs.whole.num_steps * max(config.training.epoch - position.epoch - 1, 0))
        if num_steps > state.MAX_STEPS:
            raise ConfigError("--epoch %d makes %d steps; at most %d are possible"
                              % (config.training.epoch, num_steps, state.MAX_STEPS))
        # of other lanes, or fresh
        if len(arrays[state.hidden_state(0)]) != workers * config.training.batch_size:
            arrays = state.without_hidden(arrays, config, workers)
        trainer = stack.enter_context(contextlib.closing(
            engine.create(config, device, arrays, num_steps, vocabulary.support)))
        stop.check()
        test = validation.test if validation else None
        saver = saver_module.Saver(config, config.run.checkpoint_dir, vocabulary, num_steps,
                                   lambda: fingerprint.data_of(vocabulary, sessions, test),
                                   start.phase, validation, writes)
        if writes:
            _prepare_directory(config, directory, start, saver, vocabulary, sessions)
        if validation and start.record:
            validation.restore(start.record)
        chance = divergence.chance(config, len(vocabulary), int(vocabulary.support.max()),
                                   found.size)
        watch = divergence.Watch(chance, position.mean_loss, position.best_loss,
                                 divergence.limit(config))
        log = TrainLog(config, position, writes, state.skipped_steps(arrays), watch)
        with progress(num_steps) if progress else contextlib.nullcontext() as bar:
            if bar is not None:
                bar.update(before + position.steps)
            try:
                for number in range(position.epoch, config.training.epoch):
                    _train_epoch(config, trainer, epoch, number, before, log, bar, stop, saver)
                    log.epoch_done(num_targets)
                    _end_epoch(trainer, number, log, saver, validation)
                    if validation and validation.is_over(number):
                        break
                    before += epoch.num_steps
                    epoch, num_targets = epochs.whole, epochs.num_targets
            except Interrupted as error:
                # each has lanes of its own in the middle of sessions
                if found.size > 1 and together.exchange is None:
                    raise
                at = log.position()
                raise saver.stopped(error, trainer.arrays(), at,
                                    at.steps < epoch.num_steps) from None
            except ClusterError as error:
                raise saver.lost(error, trainer.rescued,
                                 log.position()._replace(steps=before)) from None
        saver.finished()


def _check_ranks(config, found, can_exchange, in_parts):
    """Refuse what devices that train together cannot do yet."""
    if found.size == 1:
        return
    training, run = config.training, config.run
    if in_parts and not can_exchange:
        raise ConfigError("--train_path %s: a dataset directory cannot be trained on by %d devices "
                          "yet; give the plain file"
                          % (config.data.train_path, found.size))
    if config.validation.is_on and not can_exchange:
        raise ConfigError("a validation has no meaning on %d devices yet: train on one, or leave "
                          "it out" % found.size)
    if (run.resume or run.save_every) and not can_exchange:
        raise ConfigError("--resume and --save_every are not there on %d devices: each has lanes "
                          "of its own, of which the "
                          "checkpoint holds those of rank 0; leave them out" % found.size)
    _log.info("rank %d of %d devices: %d lanes on each, gradients are means over all; --lr %g is "
              "used %s",
              found.rank, found.size, training.batch_size, training.lr,
              "as it is given" if training.base_lr == training.lr
              else "times %g" % (training.base_lr / training.lr))


def _prepare_directory(config, directory, start, saver, vocabulary, sessions):
    """Make the directory ready for a new run, or the records of an earlier one for going on."""
    position = start.position()
    if position is None:
        directory.begin(start.refit.text() if start.refit else None)
    else:
        saver.resumed(directory.file(str(start.name)), start.manifest["step"],
                      not start.name.is_epoch)
        Metrics(config.run.checkpoint_dir).rewind(position.epoch, start.manifest["step"])
    path = directory.file(rules.FILE)
    # evaluation sees no training file
    if config.evaluation.compare_rules and not (position and os.path.exists(path)):
        everything = sessions.sessions if isinstance(sessions, Share) else sessions
        if isinstance(sessions, Share) and not sessions.is_whole:
            _log.info("no sequential rules are saved: no process has read all events")
        else:
            rules.save(path, rules.build(everything, len(vocabulary)), vocabulary)


def _train_epoch(config, trainer, epoch, number, before, log, bar, stop, saver):
    start, first = log.start_epoch(number), True
    trainer.start_epoch(epoch, before, start)
    while start < epoch.num_steps:
        own = _signal(stop)
        asked, due = trainer.agree(own, int(not first and saver.is_due(before + start)))
        if due:
            with log.clock_stopped():
                saver.save(trainer.arrays(), log.position(), is_moment=True)
        if asked:
            raise Interrupted(own or signal.SIGTERM)
        first = False
        end = min(start + trainer.steps_per_run, epoch.num_steps)
        # a log line ends a call, so that its time is that of its own steps; a save does
        if not trainer.whole_calls:
            end = min(end, log.next_line(before + start) - before,
                      saver.next_step(before + start) - before)
        began = time.perf_counter()
        losses = trainer.run(base.chunk_of(epoch, start, end, before))
        bad = log.watch.first(losses)
        if bad:
            raise _diverged(config, trainer, bad, before + start + bad.index + 1, number)
        log.scaling = trainer.scaling
        log.add(before + start, losses, epoch.weight[start:end], began)
        if bar is not None:
            bar.update(end - start)
        start = end


def _signal(stop):
    """Number of the signal that asks this process to stop; 0 for none."""
    try:
        stop.check()
        return 0
    except Interrupted as error:
        return error.signal_number


def _diverged(config, trainer, bad, step, number):
    """The DivergenceError of a model.divergence.Diverged; the weights it led to are saved nowhere."""
    tensor = saver_module.not_finite(config, trainer.arrays())
    found = ("" if tensor is None
             else ", %s is not finite%s" % (tensor, "" if bad.why else " either"))
    return DivergenceError("the loss is %g at step %d (epoch %d)%s%s; checkpoints saved before are "
                           "intact, train again with a lower --lr or with --grad_cap"
                           % (bad.loss, step, number, bad.why, found))


def _end_epoch(trainer, number, log, saver, validation):
    with log.clock_stopped():
        arrays = trainer.arrays()
        # first: what was trained stays, whatever stops the validation
        saver.save(arrays, log.position(), is_moment=False)
        if validation:
            validation.add(number, arrays)
            saver.record_validation(number)
