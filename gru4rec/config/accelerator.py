"""Flags of an accelerator: what the session of an NPU is asked for, mixed precision, several
devices.

Names are those that Ascend's own training scripts use. They are resolved to session options
(`npu_options`) whatever the device is, so that a wrong one is found before anything is read; on cpu
and gpu the options have no effect, and the log
says so.
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
    """Session options of an Ascend NPU, loss scaling, several devices; on cpu and gpu only the loss
    scale has an effect.
    """

    loss_scale: object = flag(OFF,
                              "factor of the loss while gradients are computed: off, dynamic "
                              "(halved when one "
                              "overflows, doubled after 1000 steps), or a fixed number; an "
                              "overflowing gradient counts as "
                              "zero", "factor", kind=loss_scale_kind)
    precision_mode: Optional[str] = flag(None, "precision of an NPU's operators",
                                         shown="must_keep_origin_dtype",
                                         choices=npu_options.TABLE["precision_mode"].values)
    precision_mode_v2: Optional[str] = flag(None,
                                            "the same under the names of newer releases, instead "
                                            "of --precision_mode",
                                            choices=npu_options.TABLE["precision_mode_v2"].values,
                                            shown="none")
    modify_mixlist: Optional[str] = flag(None,
                                         "JSON file of operators to take off or put on the lists "
                                         "of mixed precision",
                                         "file", shown="none")
    over_dump: bool = flag(False, "dump what overflows", kind=truth)
    over_dump_path: Optional[str] = flag(None, "where to", "directory", shown="none")
    data_dump_flag: bool = flag(False, "dump the tensors of steps", kind=truth)
    data_dump_step: Optional[str] = flag(None,
                                         "which, such as 10 or 10-20; several with a bar between",
                                         "steps", shown="all")
    data_dump_path: Optional[str] = flag(None, "where to", "directory", shown="none")
    profiling: bool = flag(False, "record what the device does when", kind=truth)
    profiling_dump_path: Optional[str] = flag(None, "where to", "directory", shown="none")
    op_cache: Optional[str] = flag(None, "reuse compiled operators of earlier runs",
                                   choices=npu_options.TABLE["op_compiler_cache_mode"].values,
                                   shown="enable")
    deterministic: int = flag(0, "1 makes an NPU add in the same order each time, slower",
                              kind=whole, choices=(0, 1))
    npu_opt: Tuple[str, ...] = flag((),
                                    "any other session option as key=value; give the flag again "
                                    "for each", "key=value",
                                    kind=text_list, repeat=True, shown="none")
    npu_nums: Optional[int] = flag(None, "devices that train together; must be what RANK_SIZE says",
                                   "devices", kind=whole,
                                   low=1, high=4096, shown="$RANK_SIZE, else 1")
    print_device_config: int = flag(0,
                                    "1 (or no value) prints the session of --device as JSON and "
                                    "ends", kind=whole,
                                    choices=(0, 1), const="1")

    @property
    def scales_loss(self):
        """Whether there is a loss scale."""
        return self.loss_scale != OFF

    @property
    def scale_moves(self):
        """Whether the scale changes while a run trains (--loss_scale dynamic)."""
        return self.loss_scale == DYNAMIC


# flag -> key, where a flag is one option
_KEYS = (("precision_mode", "precision_mode"), ("precision_mode_v2", "precision_mode_v2"),
         ("op_cache",
         "op_compiler_cache_mode"))


def options(accelerator, job, steps_per_run=1):
    """Session options that the flags ask for, checked: dict key -> value, without those of the loop
    on the device.

    Args:
      accelerator: AcceleratorConfig. job: "train" | "infer". steps_per_run: steps a session call on the device.
    Raises: ConfigError naming flags or options that contradict each other.
    """
    found = {}
    for name, key in _KEYS:
        if getattr(accelerator, name) is not None:
            found[key] = getattr(accelerator, name)
    if accelerator.modify_mixlist is not None:
        # the adapter's own place is another one
        found["modify_mixlist"] = os.path.abspath(accelerator.modify_mixlist)
    if accelerator.deterministic:
        found["deterministic"] = 1
    _add_dumps(found, accelerator)
    for text in accelerator.npu_opt:
        key, value = npu_options.parse(text)
        option = npu_options.TABLE.get(key)
        if option is not None and option.reserved:
            raise ConfigError("--npu_opt %s is set by %s; leave it out" % (key, option.reserved))
        if key in found:
            raise ConfigError("--npu_opt %s: %s has the value %r already; give it once"
                              % (text, key, found[key]))
        found[key] = value
    npu_options.resolve(found, job, steps_per_run)
    return found


def _add_dumps(found, accelerator):
    for switch, path in (("over_dump", "over_dump_path"), ("data_dump_flag", "data_dump_path"),
                         ("profiling", "profiling_dump_path")):
        on, where = getattr(accelerator, switch), getattr(accelerator, path)
        if on and where is None:
            raise ConfigError("--%s True needs --%s, a directory that exists" % (switch, path))
        if where is not None and not on:
            raise ConfigError("--%s %s has no meaning without --%s True" % (path, where, switch))
    if accelerator.data_dump_step is not None and not accelerator.data_dump_flag:
        raise ConfigError("--data_dump_step %s has no meaning without --data_dump_flag True"
                          % accelerator.data_dump_step)
    if accelerator.over_dump and accelerator.data_dump_flag:
        raise ConfigError("--over_dump True contradicts --data_dump_flag True: overflows or "
                          "tensors are dumped; give one")
    if accelerator.over_dump:
        found.update(enable_dump_debug=True, dump_debug_mode="all",
                     dump_path=os.path.abspath(accelerator.over_dump_path))
    if accelerator.data_dump_flag:
        found.update(enable_dump=True, dump_mode="all",
                     dump_path=os.path.abspath(accelerator.data_dump_path))
        if accelerator.data_dump_step is not None:
            found["dump_step"] = accelerator.data_dump_step
    if accelerator.profiling:
        found.update(profiling_mode=True, profiling_options=json.dumps(
            {"output": os.path.abspath(accelerator.profiling_dump_path), "training_trace": "on",
             "task_time": "on",
             "aicpu": "on", "fp_point": "", "bp_point": ""}))


def check_files(accelerator, job="train"):
    """Directories exist and can be written, the list of operators has its form; the adapter would
    abort or ignore it.

    Raises: ConfigError naming the flag, the path and what to do.
    """
    found = options(accelerator, job)
    for flag_name, on in (("over_dump_path", accelerator.over_dump),
                          ("data_dump_path", accelerator.data_dump_flag),
                          ("profiling_dump_path", accelerator.profiling)):
        if on:
            _check_directory("--" + flag_name, getattr(accelerator, flag_name))
    if "dump_path" in found and not (accelerator.over_dump or accelerator.data_dump_flag):
        _check_directory("npu option dump_path", found["dump_path"])
    if "modify_mixlist" in found:
        _check_mixlist(found["modify_mixlist"])


def _check_directory(name, path):
    if not os.path.isdir(path):
        raise ConfigError("%s %s is no directory; make it first (mkdir -p)" % (name, path))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError("%s %s cannot be written; give another" % (name, path))


def _check_mixlist(path):
    """A JSON object of black-list, white-list, gray-list, each with to-add and to-remove, lists of
    operator types.
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
        if not isinstance(changes,
                          dict) or not changes or not set(changes) <= {"to-add", "to-remove"}:
            raise ConfigError("--modify_mixlist %s: %s needs to-add or to-remove" % (path, name))
        for ops in changes.values():
            if not isinstance(ops,
                              list) or not ops or not all(isinstance(op, str) and op for op in ops):
                raise ConfigError("--modify_mixlist %s: %s holds lists of operator types, such as "
                                  "[\"Log\"]" % (path, name))
