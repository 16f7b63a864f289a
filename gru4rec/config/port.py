"""Flags under the names of the older Ascend port."""

import os
from dataclasses import dataclass
from typing import Optional

from gru4rec.command.flags import flag
from gru4rec.errors import ConfigError


@dataclass(frozen=True)
class PortConfig:
    """Names of the older Ascend port, for its scripts and its users."""

    path_to_train: Optional[str] = flag(None,
                                        "as --train_path; a directory stands for its "
                                        "--train_dataset_file", "path",
                                        shown="none")
    path_to_test: Optional[str] = flag(None,
                                       "as --test_path; a directory stands for rsc15_test.txt in it", "path",
                                       shown="none")
    train_dataset_file: Optional[str] = flag(None, "file in the directory --path_to_train", "file",
                                             shown="rsc15_train_full.txt")
    log_format: str = flag("seed",
                           "modelzoo adds a line of seconds a step and one of targets a second, "
                           "which its scripts "
                           "look for", choices=("seed", "modelzoo"))


def port_paths(port, train_path, test_path):
    """(train_path, test_path) with the older port's names resolved.

    Args:
      port: PortConfig. train_path, test_path: str or None, as --train_path and --test_path gave
      them.
    Raises: ConfigError if both names are given, or a file without its directory.
    """
    if port.train_dataset_file is not None and port.path_to_train is None:
        raise ConfigError("--train_dataset_file %s has no meaning without --path_to_train"
                          % port.train_dataset_file)
    for old, new, given in (("path_to_train", "train_path", train_path),
                            ("path_to_test", "test_path", test_path)):
        if getattr(port, old) is not None and given is not None:
            raise ConfigError("--%s %s contradicts --%s %s: both name the same file; give one"
                              % (old, getattr(port, old), new, given))
    if port.path_to_train is not None:
        train_path = _in_directory(port.path_to_train,
                                   port.train_dataset_file or "rsc15_train_full.txt",
                                   port.train_dataset_file is not None)
    if port.path_to_test is not None:
        test_path = _in_directory(port.path_to_test, "rsc15_test.txt", False)
    return train_path, test_path


def _in_directory(path, name, named):
    """The file `name` of a directory (a leading slash is the older scripts' separator); a file
    stands for itself.
    """
    return os.path.join(path, name.lstrip("/")) if named or os.path.isdir(path) else path
