"""Where a graph runs: NPU, GPU or CPU; `choose` decides. On top of config, parallel, runlog.

TensorFlow is imported when `choose` is called, so that flags can be checked without it.
"""

import dataclasses
import logging

from gru4rec import config as config_module
from gru4rec.config import npu_options as _options
from gru4rec.errors import DeviceError

_log = logging.getLogger(__name__)

NAMES = ("auto", "npu", "gpu", "cpu")
JOBS = ("train", "infer")


def choose(name, npu_options=None, job="train", steps_per_run=1, npu_nums=None, cluster=None,
           cluster_timeout=None):
    """Choose the device and log the reason. Call it before any Session exists; it makes none.

    Args:
      name: "auto" (npu, else gpu, else cpu) | "npu" | "gpu" | "cpu".
      npu_options: dict of session option -> bool, int or str; always checked, used on npu only.
      job: "train" | "infer". An NPU process does one of the two, since its session options hold for
        the whole process.
      steps_per_run: steps that a session call makes on an NPU; on other devices the engine decides.
      npu_nums: --npu_nums, number of devices that train together; None: as the environment says.
      cluster: parallel.cluster.Cluster of the processes that train together, or None. Its server is
        started. Not on npu.
      cluster_timeout: seconds; needed with a cluster.
    Returns: Device.
    Raises: DeviceError with one line that says what the asked device lacks; ConfigError for a wrong
      option.
    """
    if name not in NAMES:
        raise DeviceError("unknown device %r; use one of: %s" % (name, ", ".join(NAMES)))
    if job not in JOBS:
        raise ValueError("unknown job %r; use one of: %s" % (job, ", ".join(JOBS)))
    _options.check(npu_options or {}, job)
    args = npu_options, job, steps_per_run, npu_nums
    if name == "auto":
        device, level = _auto(*args)
    else:
        device, level = _named(name, *args), logging.INFO
    _log.log(level, "device: %s (%s)", device.name, device.reason)
    if (npu_nums or 1) > 1 and device.workers.size == 1 and job == "train":
        raise DeviceError("--npu_nums %d needs --device npu; this is %s (%s)"
                          % (npu_nums, device.name, device.reason))
    if cluster is not None:
        device = _with_cluster(device, cluster, cluster_timeout)
    if npu_options and device.name != "npu":
        _log.warning("device %s ignores the npu options: %s", device.name,
                     ", ".join(sorted(npu_options)))
    if not device.stateless:
        _log.warning("device %s has no stateless random numbers: a resumed run draws other dropout "
                     "masks than an uninterrupted one", device.name)
    return device


def _with_cluster(device, cluster, timeout):
    """The device with the communicator of a cluster."""
    if device.name == "npu":
        raise DeviceError("TF_CONFIG is for cpu and gpu, this is npu (%s): NPUs train together as "
                          "RANK_SIZE and RANK_ID say; unset TF_CONFIG, or use --device cpu"
                          % device.reason)
    from gru4rec.parallel.collectives import Collectives
    communicator = Collectives(cluster, timeout, device.session_config())
    return dataclasses.replace(device, communicator=communicator)


def _named(name, npu_options, job, steps_per_run, npu_nums, reason="asked for"):
    """The Device of that name. Only here TensorFlow and the code for the adapter are imported."""
    if name == "npu":
        from gru4rec.device import npu
        return npu.open_npu(reason, npu_options, job, steps_per_run, npu_nums)
    from gru4rec.device import host
    return host.open_gpu(reason) if name == "gpu" else host.Cpu(reason)


def _auto(*args):
    """The first device that can be used, and the level at which to log it: (Device, level).

    Not to take an NPU is a warning if anything suggests that one was meant to be used.
    """
    from gru4rec.device import npu
    from gru4rec.device.base import Missing
    reasons = ["auto takes the first that can be used"]
    for name in ("npu", "gpu"):
        try:
            device = _named(name, *args, reason="; ".join(reasons))
            break
        except Missing as error:
            why = error if name == "npu" and npu.signs() else error.what
            reasons.append("no %s: %s" % (name, why))
    else:
        device = _named("cpu", *args, reason="; ".join(reasons))
    fell_back = device.name != "npu" and npu.signs()
    return device, logging.WARNING if fell_back else logging.INFO


def device_for(config, job, cluster=None):
    """The Device that --device and its options ask for.

    Args: config: config.Config. job, cluster: as of `choose`.
    """
    from gru4rec import tf_compat
    tf_compat.setup()
    options = config_module.npu_session_options(config.run, config.accelerator)
    return choose(config.run.device, options, job, config_module.npu_steps(config.run),
                  config.accelerator.npu_nums, cluster, config.run.cluster_timeout)
