"""Where a graph runs: `choose` is the only decision. Imports config, parallel, runlog.

TensorFlow is imported when `choose` is called, so that flags can be checked against
`npu_options` without it."""

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
    """Pick the device and log why, once; no Session exists yet and none is made.

    Args:
      name: "auto" (npu, else gpu, else cpu) | "npu" | "gpu" | "cpu".
      npu_options: dict of session option -> bool, int or str, checked whatever the device; used on
      npu only.
      job: "train" | "infer"; an NPU process does one of the two (its options hold for the life of the process).
      steps_per_run: steps a session call makes on an NPU; elsewhere the engine decides.
      npu_nums: --npu_nums: devices that train together, or None for what the environment says.
      cluster: None, or parallel.cluster.Cluster of the processes that train together; its server
      starts. Not on npu.
      cluster_timeout: seconds, with a cluster.
    Returns: Device.
    Raises: DeviceError in one line naming what an explicit device lacks; ConfigError for a wrong
    option."""
    if name not in NAMES:
        raise DeviceError("unknown device %r; use one of: %s" % (name, ", ".join(NAMES)))
    if job not in JOBS:
        raise ValueError("unknown job %r; use one of: %s" % (job, ", ".join(JOBS)))
    _options.check(npu_options or {}, job)
    args = npu_options, job, steps_per_run, npu_nums
    device, level = _auto(*args) if name == "auto" else (_named(name, *args), logging.INFO)
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
                     "masks than an "
                     "uninterrupted one", device.name)
    return device


def _with_cluster(device, cluster, timeout):
    if device.name == "npu":
        raise DeviceError("TF_CONFIG is for cpu and gpu, this is npu (%s): NPUs train together as "
                          "RANK_SIZE and RANK_ID say; "
                          "unset TF_CONFIG, or use --device cpu" % device.reason)
    from gru4rec.parallel.collectives import Collectives
    return dataclasses.replace(device,
                               communicator=Collectives(cluster, timeout, device.session_config()))


def _named(name, npu_options, job, steps_per_run, npu_nums, reason="asked for"):
    # Imports wait until here: neither TensorFlow nor the code that knows the adapter loads before
    # it is wanted.
    if name == "npu":
        from gru4rec.device import npu
        return npu.open_npu(reason, npu_options, job, steps_per_run, npu_nums)
    from gru4rec.device import host
    return host.open_gpu(reason) if name == "gpu" else host.Cpu(reason)


def _auto(*args):
    """(first device that can be had, log level): a fallback is a warning where signs of an NPU were
    found.
    """
    from gru4rec.device import npu
    from gru4rec.device.base import Missing
    missing = []
    for name in ("npu", "gpu"):
        try:
            device = _named(name, *args, reason=_auto_reason(missing))
            break
        except Missing as error:
            missing.append("no %s: %s" % (name,
                                          error if name == "npu" and npu.signs() else error.what))
    else:
        device = _named("cpu", *args, reason=_auto_reason(missing))
    fell_back = device.name != "npu" and npu.signs()
    return device, logging.WARNING if fell_back else logging.INFO


def _auto_reason(missing):
    return "; ".join(["auto takes the first it can have"] + missing)


def device_for(config, job, cluster=None):
    """The Device that --device and its options ask for; arguments as for `choose`, config:
    config.Config.
    """
    from gru4rec import tf_compat
    tf_compat.setup()
    return choose(config.run.device,
                  config_module.npu_session_options(config.run, config.accelerator), job,
                         config_module.npu_steps(config.run), config.accelerator.npu_nums, cluster,
                         config.run.cluster_timeout)
