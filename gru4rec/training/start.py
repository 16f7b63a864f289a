"""Where and with what a training starts.

`Start.arrays` imports TensorFlow where weights are read; all else here comes before that.
"""

import json
import os
from typing import Any, Dict, NamedTuple, Optional

from gru4rec import checkpoint
from gru4rec.checkpoint import names
from gru4rec.checkpoint.manifest import Position, workers
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError
from gru4rec.model import state
from gru4rec.training import fingerprint, validation, warm_start


class Refit(NamedTuple):
    """The second part of a run with --refit 1; what the file REFIT holds."""

    config: Any  # config.Config of the whole run
    best_epoch: int  # 0-based
    summary: str  # training.validation.Validation.summary

    def text(self):
        return json.dumps(dict(self._asdict(), config=self.config.to_dict()), indent=1,
                          sort_keys=True) + "\n"


class Start(NamedTuple):
    """Where and with what a training starts."""

    config: Any  # config.Config of this part of the run
    name: Optional[names.Name] = None  # checkpoint in the directory to go on from; None: a new run
    manifest: Optional[Dict[str, Any]] = None  # its own, see checkpoint.verified
    refit: Optional[Refit] = None  # in the second part of a run with --refit 1
    source: Optional[warm_start.Source] = None  # of a new run's weights
    is_finished: bool = False

    @property
    def phase(self):
        return "refit" if self.refit else "train"

    @property
    def record(self):
        """training.validation.Validation.record of the checkpoint, None without."""
        return self.manifest["validation"] if self.manifest else None

    def base_vocabulary(self):
        """Vocabulary whose item indices the weights have; None for a new run with fresh weights."""
        if self.name is not None:
            return Vocabulary.load(os.path.join(self.config.run.checkpoint_dir, names.VOCABULARY))
        return self.source.vocabulary if self.source else None

    def check_data(self, vocabulary, sessions, test=None):
        """CheckpointError if the run was trained or validated on other events than these; arguments
        as saver.data_of.
        """
        if self.name is None:
            return
        ours, theirs = fingerprint.data_of(vocabulary, sessions, test), self.manifest["data"]
        for key, flag in (("train", "train_path"), ("validation", "valid_path")):
            same = key == "train" and fingerprint.same_data(ours, theirs, vocabulary, sessions)
            if ours[key] != theirs[key] and not same:
                old, new = (getattr(group, flag)
                            for config in (self.manifest["config"], self.config)
                            for group in (config.data, config.validation) if hasattr(group, flag))
                raise CheckpointError(
                    "--%s %s does not hold the events %s was trained with (--%s %s; then %d events "
                    "of %d items, now %d of "
                    "%d); give that file, or train afresh without --resume"
                    % (flag, new or "(default)",
                       os.path.join(self.config.run.checkpoint_dir, str(self.name)), flag,
                       old or "(default)", theirs["events"], theirs["items"], ours["events"],
                       ours["items"]))

    def arrays(self, vocabulary):
        """State to start from, names of model.state; imports TensorFlow unless the weights are
        fresh.
        """
        if self.name is not None:
            return checkpoint.tensors(self.config.run.checkpoint_dir, self.name, self.config,
                                      len(vocabulary),
                                      workers(self.manifest))
        fresh = state.initial(self.config, len(vocabulary))
        return warm_start.filled(self.source, self.config, fresh) if self.source else fresh

    def position(self):
        """manifest.Position the training goes on at; None for a new run. The end of an epoch is
        the start of the next, unless a validation did not come to its end."""
        if self.name is None:
            return None
        found = self.manifest["position"]
        measured = self.record is None or self.record["value"] is not None
        if not (self.name.is_epoch and measured):
            return found
        return Position(found.epoch + 1, 0, 0.0, 0.0, mean_loss=found.mean_loss,
                        best_loss=found.best_loss)


def afresh(config):
    """Start of a new run."""
    source = warm_start.find(config)
    return Start(warm_start.with_model_of(source, config) if source else config, source=source)


def second_part(config, best_epoch, summary):
    """Start of the training on everything that --refit 1 asks for; config: config.Config of the
    whole run.
    """
    return Start(validation.refit_config(config, best_epoch),
                 refit=Refit(config, best_epoch, summary),
                 source=warm_start.find(config))
