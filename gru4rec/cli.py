"""The console script: `gru4rec train ...`, `gru4rec recommend ...`, and so on.

A subcommand is the module it names, run as `python -m` runs it, so both ways are one. The module is
imported only when it runs. `python -m gru4rec` is the same as the script.
"""

import os
import runpy
import sys

from gru4rec.command import invocation
from gru4rec.command.process import say
from gru4rec.errors import ConfigError, Gru4RecError
from gru4rec.version import __version__

# subcommand -> (module, value of its --train or None, what it does)
SUBCOMMANDS = {
    "train": ("gru4rec.main", 1, "train a model, on the bundled sample or on files of events"),
    "evaluate": ("gru4rec.main", 0, "measure a saved model on test events: Recall, MRR and more"),
    "recommend": ("gru4rec.recommend", None,
                  "next items for one session, or for a file of sessions"),
    "serve": ("gru4rec.serve", None, "answer over HTTP (extra serve)"),
    "prepare": ("gru4rec.prepare", None, "raw logs to training and test files (extra prepare)"),
    "baselines": ("gru4rec.baselines", None, "measure recommenders that learn nothing"),
    "compare": ("gru4rec.compare", None, "is the difference of two evaluations more than chance?"),
    "report": ("gru4rec.report", None, "one HTML page of a run"),
    "export": ("gru4rec.export", None, "graphs for NPU, TensorFlow Serving or ONNX"),
    "offline": ("gru4rec.offline", None, "measure an exported graph on test events"),
    "device": ("gru4rec.device", None, "say whether a device can be used, and what is missing"),
    "import_ckpt": ("gru4rec.import_ckpt", None, "take over a checkpoint of the older Ascend port"),
}


def usage(program):
    """Text of `gru4rec --help`."""
    width = max(map(len, SUBCOMMANDS))
    lines = ["usage: %s SUBCOMMAND [flags]" % program, "       %s --help | --version" % program, "",
             "Session-based recommendation with GRU4Rec.", "", "subcommands:"]
    lines += ["  %-*s  %s" % (width, name, SUBCOMMANDS[name][2]) for name in SUBCOMMANDS]
    return "\n".join(lines + ["", "`%s SUBCOMMAND --help` lists the flags of one." % program])


def find(program, argv):
    """The subcommand that a command line names.

    Args:
      program: str, what was typed before the subcommand. argv: list of str, the rest.
    Returns: (module, list of str: its arguments).
    Raises: ConfigError if it is missing, unknown, or contradicts a --train among its flags.
    """
    if not argv:
        raise ConfigError("a subcommand is missing; %s --help lists them" % program)
    name, flags = argv[0], argv[1:]
    if name not in SUBCOMMANDS:
        raise ConfigError(_unknown(program, name))
    module, train, _ = SUBCOMMANDS[name]
    if train is None:
        return module, flags
    if str(1 - train) in _values(flags, "--train"):
        other = "train" if name == "evaluate" else "evaluate"
        raise ConfigError("--train %d contradicts %s %s; leave it out, or use %s %s"
                          % (1 - train, program, name, program, other))
    # the parser refuses any other value
    return module, ["--train", str(train)] + flags


def _values(flags, name):
    """Values of a flag in a command line that is not parsed yet."""
    return ([value for flag, value in zip(flags, flags[1:]) if flag == name]
            + [flag[len(name) + 1:] for flag in flags if flag.startswith(name + "=")])


def _unknown(program, name):
    import difflib
    if name.startswith("-"):
        return ("%s comes after a subcommand, such as %s train; %s --help lists them"
                % (name, program, program))
    near = difflib.get_close_matches(name.lower().replace("-", "_"), SUBCOMMANDS, 1, 0.5)
    hint = "did you mean %s? " % near[0] if near else ""
    return "unknown subcommand %r; %s%s --help lists them" % (name, hint, program)


def _program():
    """What was typed, up to the subcommand."""
    return "python -m gru4rec" if os.path.basename(sys.argv[0]) == "__main__.py" else "gru4rec"


def main():
    """Run the command line of this process; a subcommand ends the process with its own status.

    Returns: exit status of everything else, 0 or 2.
    """
    program, argv = _program(), sys.argv[1:]
    try:
        if argv and argv[0] in ("-h", "--help", "--version"):
            say("gru4rec %s" % __version__ if argv[0] == "--version" else usage(program))
            return 0
        module, flags = find(program, argv)
    except Gru4RecError as error:
        sys.stderr.write("error: %s\n" % error)
        return error.exit_status
    invocation.started_as("%s %s" % (program, argv[0]))
    sys.argv[1:] = flags
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0
