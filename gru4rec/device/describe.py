"""What a device would be asked for, as plain data: `--print_device_config`, and the self-test's
report.
"""

import os
import platform

from gru4rec import device, tf_compat
from gru4rec.config import npu_options
from gru4rec.errors import DeviceError
from gru4rec.tf_compat import tf

ENVIRONMENT = ("ASCEND_DEVICE_ID", "DEVICE_ID", "RANK_ID", "RANK_SIZE", "RANK_TABLE_FILE", "JOB_ID",
               "CM_CHIEF_IP",
               "CM_WORKER_SIZE", "ASCEND_OPP_PATH", "ASCEND_HOME_PATH", "ASCEND_GLOBAL_LOG_LEVEL",
               "CUDA_VISIBLE_DEVICES")


def resolved(name, options=None, job="train", steps_per_run=1):
    """The session of a device, whether it can be had or not.

    Args: as of `device.choose`.
    Returns: dict for JSON: device, available, reason, job, parameter_map (of an NPU: key -> field
    and value), session
      (tf.ConfigProto as text), environment, versions.
    """
    available, reason, found = True, None, None
    try:
        found = device.choose(name, options, job, steps_per_run)
        reason = found.reason
    except DeviceError as error:
        available, reason = False, str(error)
        if name == "npu":  # what it would be asked for needs no adapter
            from gru4rec.device import npu
            found = npu.Npu(reason, options=npu_options.resolve(options or {}, job, steps_per_run))
    config = found.session_config() if found is not None else tf.ConfigProto()
    entries = config.graph_options.rewrite_options.custom_optimizers
    return {"device": found.name if found is not None else name, "available": available,
            "reason": reason, "job": job,
            "parameter_map": npu_options.read(entries[0].parameter_map) if entries else {},
            "session": str(config), "environment": environment(), "versions": versions()}


def environment():
    """Variables that decide which NPU is used and how; those that are set."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def versions():
    """Of Python, TensorFlow and this package."""
    from gru4rec.version import __version__
    return {"python": platform.python_version(), "tensorflow": tf_compat.tf.__version__,
            "gru4rec": __version__}
