"""Flags under the names of the older Ascend port."""

import os
from dataclasses import dataclass
from typing import Optional

from gru4rec.command.flags import flag
from gru4rec.errors import ConfigError


@dataclass(frozen=True)
class PortConfig:
    """Names of the older Ascend port, for its scripts and its users."""

    path_to_train: Optional[str] = flag(
        None, "same as --train_path; if it is a directory, the file --train_dataset_file in it is "
        "read", "path", shown="none")
    path_to_test: Optional[str] = flag(
        None, "same as --test_path; if it is a directory, the file rsc15_test.txt in it is read",
        "path", shown="none")
    train_dataset_file: Optional[str] = flag(None, "file in the directory --path_to_train", "file",
                                             shown="rsc15_train_full.txt")
    log_format: str = flag(
        "seed", "modelzoo also prints a line of seconds per step and one of targets per second, "
        "which the scripts of the model zoo look for", choices=("seed", "modelzoo"))


def port_paths(port, train_path, test_path):
    """(train_path, test_path): the older port's names replaced by the paths they stand for.

    Args:
      port: PortConfig. train_path, test_path: values of --train_path and --test_path; str or None.
    Raises: ConfigError if both names of a path are given, or a file without its directory.
    """
    if port.train_dataset_file is not None and port.path_to_train is None:
        raise ConfigError("--train_dataset_file %s has no meaning without --path_to_train"
                          % port.train_dataset_file)
    for old, new, path in (("path_to_train", "train_path", train_path),
                           ("path_to_test", "test_path", test_path)):
        if getattr(port, old) is not None and path is not None:
            raise ConfigError("--%s %s contradicts --%s %s: both name the same file; give one"
                              % (old, getattr(port, old), new, path))
    if port.path_to_train is not None:
        file = port.train_dataset_file
        if file is not None or os.path.isdir(port.path_to_train):
            train_path = _join(port.path_to_train, file or "rsc15_train_full.txt")
        else:
            train_path = port.path_to_train
    if port.path_to_test is not None:
        test_path = port.path_to_test
        if os.path.isdir(test_path):
            test_path = _join(test_path, "rsc15_test.txt")
    return train_path, test_path


def _join(directory, name):
    """Path of a file; the older scripts write a slash before its name, as a separator."""
    return os.path.join(directory, name.lstrip("/"))
