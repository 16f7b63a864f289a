"""Command line: flags -> train or evaluate. `python -m gru4rec.main --help` lists the flags."""

import json
import logging
import os
import sys

from gru4rec import config as config_module
from gru4rec.command.process import exit_status, leave, say, setup_logging
from gru4rec.config import accelerator as accelerator_flags
from gru4rec.evaluation.run import evaluate
from gru4rec.runlog import tensorboard
from gru4rec.training.run import train

_log = logging.getLogger("gru4rec.main")  # __name__ is "__main__" when this runs as the command


def main(argv=None):
    """Run the command; returns its exit status (0 done, 2 input or device, 3 divergence, 130 or 143
    stopped by a signal).
    """
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv),
                       "use fewer lanes (--batch_size, --eval_batch_size), units (--size) or "
                       "--steps_per_run")


def _run(argv):
    config = config_module.parse(argv)
    tensorboard.check(config.run.tensorboard)
    accelerator_flags.check_files(config.accelerator, "train" if config.run.train else "infer")
    if config.accelerator.print_device_config:
        return _print_device_config(config)
    if config.run.train:
        train(config)
    else:
        evaluate(config)


def _print_device_config(config):
    from gru4rec import tf_compat
    tf_compat.setup()
    from gru4rec.device import describe
    run = config.run
    found = describe.resolved(run.device,
                              config_module.npu_session_options(run, config.accelerator),
                              "train" if run.train else "infer", config_module.npu_steps(run))
    found["accelerator"] = config.to_dict()["accelerator"]
    say(json.dumps(found, indent=2, sort_keys=True))


if __name__ == "__main__":
    ended = main()
    # a server of TensorFlow that waits for its cluster has been seen to hold the process
    if os.environ.get("TF_CONFIG"):
        leave(ended)
    sys.exit(ended)
