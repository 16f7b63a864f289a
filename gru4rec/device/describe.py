"""The session options of a device as plain data, for --print_device_config and the self-test."""

import os

from gru4rec import device
from gru4rec.config import npu_options
from gru4rec.device import machine
from gru4rec.errors import DeviceError
from gru4rec.tf_compat import tf
from gru4rec.version import __version__

ENVIRONMENT = (
    "ASCEND_DEVICE_ID", "DEVICE_ID", "RANK_ID", "RANK_SIZE", "RANK_TABLE_FILE", "JOB_ID",
    "CM_CHIEF_IP", "CM_WORKER_SIZE", "ASCEND_OPP_PATH", "ASCEND_HOME_PATH",
    "ASCEND_GLOBAL_LOG_LEVEL", "CUDA_VISIBLE_DEVICES")


def resolved(name, options=None, job="train", steps_per_run=1):
    """The session configuration of a device, whether this machine has the device or not.

    Args: as of `device.choose`.
    Returns: dict for JSON: device, available, reason, job, parameter_map (NPU only: key -> field
      and value), session (tf.ConfigProto as text), environment, versions.
    """
    available, chosen = True, None
    try:
        chosen = device.choose(name, options, job, steps_per_run)
        reason = chosen.reason
    except DeviceError as error:
        available, reason = False, str(error)
        if name == "npu":  # its session configuration needs no adapter
            from gru4rec.device import npu
            chosen = npu.Npu(reason, options=npu_options.resolve(options or {}, job, steps_per_run))
    if chosen is None:
        config = tf.ConfigProto()
    else:
        name, config = chosen.name, chosen.session_config()
    entries = config.graph_options.rewrite_options.custom_optimizers
    parameter_map = npu_options.read(entries[0].parameter_map) if entries else {}
    return {"device": name, "available": available, "reason": reason, "job": job,
            "parameter_map": parameter_map, "session": str(config),
            "environment": environment(), "versions": versions()}


def environment():
    """The environment variables that decide which NPU is used and how, as far as they are set."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def versions():
    """Versions of Python, TensorFlow and this package."""
    return dict(machine.versions("tensorflow"), gru4rec=__version__)
