"""Where a training starts: with fresh weights, those of another model, or in the middle of a run.

`Start` says what is trained. Its `origin` gives the state to begin with: `Fresh`, `OfModel` or
`Saved`; on the processes of a cluster `training.together.FromRankZero`. Nothing here imports
TensorFlow, and it all comes before that is imported, but for `arrays`.
"""

import json
import os
from typing import Any, NamedTuple, Optional

from gru4rec import checkpoint
from gru4rec.checkpoint import names
from gru4rec.checkpoint.manifest import Position, workers
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError
from gru4rec.model import state
from gru4rec.training import fingerprint, validation, warm_start


class Fresh:
    """A new run with fresh weights; the others differ from it in what they override.

    position: None for a new run, or the checkpoint.manifest.Position to go on at.
    record: None, or training.validation.Validation.record, to go on from.
    saved: None, or the Saved of this process's --checkpoint_dir that the run goes on from.
    """

    position = record = saved = None

    def base_vocabulary(self):
        """Vocabulary whose item indices the weights have; None for fresh weights."""
        return None

    def report(self, vocabulary):
        """Log what the training's vocabulary has in common with that of the weights."""

    def check_data(self, config, vocabulary, sessions, test=None):
        """Raises: CheckpointError if the run was trained or validated on other events than these.

        config: config.Config of the run; the rest as for training.fingerprint.data_of.
        """

    def arrays(self, config, vocabulary):
        """The state to start from, by its names in model.state."""
        return state.initial(config, len(vocabulary))


FRESH = Fresh()


class OfModel(Fresh):
    """A new run with the weights of another model (--init_from)."""

    def __init__(self, source):
        """source: training.warm_start.Source."""
        self._source = source

    def base_vocabulary(self):
        return self._source.vocabulary

    def report(self, vocabulary):
        warm_start.report(self._source, vocabulary)

    def arrays(self, config, vocabulary):
        return warm_start.filled(self._source, config, super().arrays(config, vocabulary))


class Saved(Fresh):
    """A checkpoint in --checkpoint_dir, at which a run goes on."""

    def __init__(self, directory, name, manifest):
        """directory: str. name: checkpoint.names.Name. manifest: its own, see checkpoint.verified.
        """
        self._directory, self.name, self._manifest = directory, name, manifest
        self.path, self.step = os.path.join(directory, str(name)), manifest["step"]
        self.record, self.saved = manifest["validation"], self

    @property
    def is_over(self):
        """Whether the checkpoint is the end of an epoch, and was validated if it has to be."""
        return self.name.is_epoch and (self.record is None or self.record["value"] is not None)

    @property
    def position(self):
        """The end of an epoch is the start of the next one."""
        position = self._manifest["position"]
        if not self.is_over:
            return position
        return Position(position.epoch + 1, 0, 0.0, 0.0, mean_loss=position.mean_loss,
                        best_loss=position.best_loss)

    def base_vocabulary(self):
        return Vocabulary.load(os.path.join(self._directory, names.VOCABULARY))

    def check_data(self, config, vocabulary, sessions, test=None):
        now, then = fingerprint.data_of(vocabulary, sessions, test), self._manifest["data"]
        if not fingerprint.same_training_data(now, then, vocabulary, sessions):
            raise self._other_data("train_path", config.data, self._manifest["config"].data, now)
        if now["validation"] != then["validation"]:
            raise self._other_data("valid_path", config.validation,
                                   self._manifest["config"].validation, now)

    def _other_data(self, flag, group, saved_group, now):
        then = self._manifest["data"]
        return CheckpointError(
            "--%s %s does not hold the events %s was trained with (--%s %s; then %d events of %d "
            "items, now %d of %d); give that file, or train again without --resume"
            % (flag, getattr(group, flag) or "(default)", self.path, flag,
               getattr(saved_group, flag) or "(default)", then["events"], then["items"],
               now["events"], now["items"]))

    def arrays(self, config, vocabulary):
        return checkpoint.tensors(self._directory, self.name, config, len(vocabulary),
                                  workers(self._manifest))


class Refit(NamedTuple):
    """The second part of a run with --refit 1; what the file REFIT holds."""

    config: Any  # config.Config of the whole run
    best_epoch: int  # 0-based
    summary: str  # training.validation.Validation.summary

    def text(self):
        """Content of the file."""
        values = dict(self._asdict(), config=self.config.to_dict())
        return json.dumps(values, indent=1, sort_keys=True) + "\n"


class Start(NamedTuple):
    """What is trained, and where that begins."""

    config: Any  # config.Config of this part of the run
    origin: Fresh = FRESH
    refit: Optional[Refit] = None  # in the second part of a run with --refit 1
    is_finished: bool = False  # nothing is left to train

    @property
    def phase(self):
        """As the manifest of a checkpoint has it."""
        return "refit" if self.refit else "train"


def afresh(config):
    """Start of a new run."""
    source = warm_start.find(config)
    if source is None:
        return Start(config)
    return Start(warm_start.with_model_of(source, config), OfModel(source))


def second_part(config, best_epoch, summary):
    """Start of the training on everything that --refit 1 asks for.

    Args:
      config: config.Config of the whole run. best_epoch, summary: of its Validation.
    """
    source = warm_start.find(config)
    return Start(validation.refit_config(config, best_epoch),
                 FRESH if source is None else OfModel(source), Refit(config, best_epoch, summary))
