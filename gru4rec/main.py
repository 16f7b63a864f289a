"""Command line: flags -> train or evaluate. `python -m gru4rec.main --help` lists the flags."""

import json
import os
import sys

from gru4rec import config as config_module
from gru4rec.command.process import exit_status, leave, say, setup_logging
from gru4rec.config.accelerator import check_files
from gru4rec.runlog import tensorboard


def main(argv=None):
    """Run the command.

    Returns: exit status: 0 done, 2 input or device, 3 divergence, 4 directory in use or process
      gone, 130 or 143 stopped by a signal.
    """
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv),
                       "use fewer lanes (--batch_size, --eval_batch_size), units (--size) or "
                       "--steps_per_run")


def _run(argv):
    config = config_module.parse(argv)
    tensorboard.check(config.run.tensorboard)
    check_files(config.accelerator, "train" if config.run.train else "infer")
    # Imports wait for the flags: --help and a wrong flag need neither numpy nor pandas.
    if config.accelerator.print_device_config:
        _print_device_config(config)
    elif config.run.train:
        from gru4rec.training.run import train
        train(config)
    else:
        from gru4rec.evaluation.run import evaluate
        evaluate(config)


def _print_device_config(config):
    from gru4rec import tf_compat
    tf_compat.setup()
    from gru4rec.device import describe
    run = config.run
    settings = describe.resolved(run.device,
                                 config_module.npu_session_options(run, config.accelerator),
                                 "train" if run.train else "infer", config_module.npu_steps(run))
    settings["accelerator"] = config.to_dict()["accelerator"]
    say(json.dumps(settings, indent=2, sort_keys=True))


if __name__ == "__main__":
    status = main()
    # a server of TensorFlow that waits for its cluster has been seen to hold the process
    if os.environ.get("TF_CONFIG"):
        leave(status)
    sys.exit(status)
