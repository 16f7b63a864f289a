"""Flags of an accelerator: session options of an NPU, loss scaling, several devices.

The names are those of Ascend's own training scripts. The flags are turned into session options
(`npu_options`) whatever the device is, so that a wrong one is found before anything is read. On cpu
and gpu these options have no effect, and the log says so.
"""

import json
import os
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import flag
from gru4rec.command.kinds import text_list, truth, whole, worded
from gru4rec.config import npu_options
from gru4rec.errors import ConfigError

OFF, DYNAMIC = "off", "dynamic"


@worded("off, dynamic or a number above 0 (at most 2**32)")
def loss_scale_kind(value):
    """"off" | "dynamic" | a number above 0, as text or number -> "off", "dynamic" or float."""
    if value in (OFF, DYNAMIC):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a loss scale")
    number = float(value)
    if not 0 < number <= 2.0 ** 32:
        raise ValueError("not a loss scale")
    return number


@dataclass(frozen=True)
class AcceleratorConfig:
    """Session of an Ascend NPU; on cpu and gpu only --loss_scale has an effect."""

    loss_scale: object = flag(
        OFF, "factor of the loss while gradients are computed: off, dynamic (halved when a "
        "gradient overflows, doubled after 1000 steps without overflow), or a fixed number; a "
        "gradient that overflows counts as zero", "factor", kind=loss_scale_kind)
    precision_mode: Optional[str] = flag(
        None, "precision of the operators of an NPU", shown="must_keep_origin_dtype",
        choices=npu_options.TABLE["precision_mode"].values)
    precision_mode_v2: Optional[str] = flag(
        None, "use this instead of --precision_mode for the names of newer releases",
        choices=npu_options.TABLE["precision_mode_v2"].values, shown="none")
    modify_mixlist: Optional[str] = flag(
        None, "JSON file of operators to add to the lists of mixed precision or to remove from "
        "them", "file", shown="none")
    over_dump: bool = flag(False, "True writes data about overflows to --over_dump_path",
                            kind=truth)
    over_dump_path: Optional[str] = flag(None, "existing directory for --over_dump", "directory",
                                         shown="none")
    data_dump_flag: bool = flag(False, "True writes the tensors of steps to --data_dump_path",
                                kind=truth)
    data_dump_step: Optional[str] = flag(
        None, "steps that --data_dump_flag writes, such as 10 or 10-20; several are separated by a "
        "vertical bar", "steps", shown="all")
    data_dump_path: Optional[str] = flag(None, "existing directory for --data_dump_flag",
                                         "directory", shown="none")
    profiling: bool = flag(False, "True records what the device does, and when, in "
                           "--profiling_dump_path", kind=truth)
    profiling_dump_path: Optional[str] = flag(None, "existing directory for --profiling",
                                              "directory", shown="none")
    op_cache: Optional[str] = flag(
        None, "reuse compiled operators of earlier runs",
        choices=npu_options.TABLE["op_compiler_cache_mode"].values, shown="enable")
    deterministic: int = flag(0, "1 makes an NPU add in the same order each time, which is slower",
                              kind=whole, choices=(0, 1))
    npu_opt: Tuple[str, ...] = flag(
        (), "any other session option, as key=value; repeat the flag for each option", "key=value",
        kind=text_list, repeat=True, shown="none")
    npu_nums: Optional[int] = flag(
        None, "devices that train together; must be the number in RANK_SIZE", "devices", kind=whole,
        low=1, high=4096, shown="$RANK_SIZE, else 1")
    print_device_config: int = flag(
        0, "1 (or no value) prints the session options of --device as JSON and ends", kind=whole,
        choices=(0, 1), const="1")

    @property
    def scales_loss(self):
        """Whether there is a loss scale."""
        return self.loss_scale != OFF

    @property
    def scale_moves(self):
        """Whether the scale changes while a run trains (--loss_scale dynamic)."""
        return self.loss_scale == DYNAMIC


# Flags that are one session option each: (flag, key of the option).
_KEYS = (("precision_mode", "precision_mode"), ("precision_mode_v2", "precision_mode_v2"),
         ("op_cache", "op_compiler_cache_mode"))


def options(accelerator, job, steps_per_run=1):
    """Session options that the flags ask for, checked: dict key -> value.

    Options of the loop on the device (`npu_options.loop_options`) are not among them.
    Args:
      accelerator: AcceleratorConfig. job: "train" | "infer".
      steps_per_run: steps of one session call on the device.
    Raises: ConfigError naming flags or options that contradict each other.
    """
    asked = {}
    for name, key in _KEYS:
        if getattr(accelerator, name) is not None:
            asked[key] = getattr(accelerator, name)
    if accelerator.modify_mixlist is not None:
        # The adapter would look for a relative path in another directory.
        asked["modify_mixlist"] = os.path.abspath(accelerator.modify_mixlist)
    if accelerator.deterministic:
        asked["deterministic"] = 1
    _check_dumps(accelerator)
    _add_dumps(asked, accelerator)
    for text in accelerator.npu_opt:
        key, value = npu_options.parse(text)
        option = npu_options.TABLE.get(key)
        if option is not None and option.reserved:
            raise ConfigError("--npu_opt %s is set by %s; leave it out" % (key, option.reserved))
        if key in asked:
            raise ConfigError("--npu_opt %s: %s has the value %r already; give it once"
                              % (text, key, asked[key]))
        asked[key] = value
    npu_options.resolve(asked, job, steps_per_run)
    return asked


def _check_dumps(accelerator):
    """ConfigError for a dump or profile without its directory, and the other way round."""
    for switch, path in (("over_dump", "over_dump_path"), ("data_dump_flag", "data_dump_path"),
                         ("profiling", "profiling_dump_path")):
        is_on, directory = getattr(accelerator, switch), getattr(accelerator, path)
        if is_on and directory is None:
            raise ConfigError("--%s True needs --%s, a directory that exists" % (switch, path))
        if directory is not None and not is_on:
            raise ConfigError("--%s %s has no meaning without --%s True"
                              % (path, directory, switch))
    if accelerator.data_dump_step is not None and not accelerator.data_dump_flag:
        raise ConfigError("--data_dump_step %s has no meaning without --data_dump_flag True"
                          % accelerator.data_dump_step)
    if accelerator.over_dump and accelerator.data_dump_flag:
        raise ConfigError("--over_dump True contradicts --data_dump_flag True: the adapter dumps "
                          "overflows or tensors, not both; give one")


def _add_dumps(asked, accelerator):
    """Add the session options of the dump or profile that the flags ask for to `asked`."""
    if accelerator.over_dump:
        asked.update(enable_dump_debug=True, dump_debug_mode="all",
                     dump_path=os.path.abspath(accelerator.over_dump_path))
    if accelerator.data_dump_flag:
        asked.update(enable_dump=True, dump_mode="all",
                     dump_path=os.path.abspath(accelerator.data_dump_path))
        if accelerator.data_dump_step is not None:
            asked["dump_step"] = accelerator.data_dump_step
    if accelerator.profiling:
        asked.update(profiling_mode=True, profiling_options=json.dumps(
            {"output": os.path.abspath(accelerator.profiling_dump_path), "training_trace": "on",
             "task_time": "on", "aicpu": "on", "fp_point": "", "bp_point": ""}))


def check_files(accelerator, job="train"):
    """Check the directories and the list of operators, over which the adapter would abort.

    A directory must exist and be writable; the list must have its form.
    Raises: ConfigError naming the flag, the path and what to do.
    """
    asked = options(accelerator, job)
    for flag_name, is_on in (("over_dump_path", accelerator.over_dump),
                             ("data_dump_path", accelerator.data_dump_flag),
                             ("profiling_dump_path", accelerator.profiling)):
        if is_on:
            _check_directory("--" + flag_name, getattr(accelerator, flag_name))
    if "dump_path" in asked and not (accelerator.over_dump or accelerator.data_dump_flag):
        _check_directory("npu option dump_path", asked["dump_path"])
    if "modify_mixlist" in asked:
        _check_mixlist(asked["modify_mixlist"])


def _check_directory(name, path):
    if not os.path.isdir(path):
        raise ConfigError("%s %s is not a directory; make it first (mkdir -p)" % (name, path))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError("%s %s cannot be written; give another" % (name, path))


def _check_mixlist(path):
    """Check the form of the list of operators.

    It is a JSON object with the keys black-list, white-list, gray-list; each holds to-add or
    to-remove, which are lists of operator types.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lists = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError("--modify_mixlist %s cannot be read as JSON: %s"
                          % (path, str(error).splitlines()[0])) from None
    if not isinstance(lists, dict) or not lists:
        raise ConfigError("--modify_mixlist %s is not an object with black-list or white-list"
                          % path)
    for name, changes in lists.items():
        if name not in ("black-list", "white-list", "gray-list"):
            raise ConfigError("--modify_mixlist %s has the key %r; use black-list, white-list"
                              % (path, name))
        if (not isinstance(changes, dict) or not changes
                or not set(changes) <= {"to-add", "to-remove"}):
            raise ConfigError("--modify_mixlist %s: %s needs to-add or to-remove" % (path, name))
        for ops in changes.values():
            if (not isinstance(ops, list) or not ops
                    or not all(isinstance(op, str) and op for op in ops)):
                raise ConfigError("--modify_mixlist %s: %s holds lists of operator types, such as "
                                  "[\"Log\"]" % (path, name))
