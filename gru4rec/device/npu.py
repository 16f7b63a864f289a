"""Huawei Ascend NPU: the only module that names its TensorFlow adapter, `npu_bridge` (TF 1.15) or
`npu_device` (TF 2).

The adapter's `npu_init` modules are never imported: since 2022 they patch every Session of the
process. Only leaf modules are, and only after everything cheaper to look at is there.
"""

import contextlib
import glob
import importlib
import importlib.util
import io
import logging
import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Dict

from gru4rec import tf_compat
from gru4rec.config import npu_options
from gru4rec.device import rank_table
from gru4rec.device.base import Device, Missing, stream_seed
from gru4rec.errors import DeviceError
from gru4rec.parallel import workers
from gru4rec.parallel.communicator import NOBODY_ELSE, Several
from gru4rec.tf_compat import tf

_log = logging.getLogger(__name__)

SKIP_CHECK = "GRU4REC_SKIP_DAVINCI_CHECK"
LOOP_OP = "IterationOp"  # the device repeats the op of this very name
_SET_ENV = ("run `source /usr/local/Ascend/cann/set_env.sh` (older releases: "
            "/usr/local/Ascend/ascend-toolkit/set_env.sh) in this shell and start again")


@dataclass(frozen=True, eq=False)
class Npu(Device):
    """One Ascend NPU behind the adapter.

    options: parameter_map of its sessions, checked. npu_ops: the adapter's module of graph ops.
    adapter: its package."""

    options: Dict[str, Any] = field(default_factory=dict)
    npu_ops: Any = None
    adapter: str = ""

    name = "npu"
    use_resource = False  # no IR op for gathers and scatters on resource variables
    default_steps_per_run = 1
    conservative_optimizer = True
    stateless = False  # no IR op StatelessRandomUniform
    loops = True

    def session_config(self):
        config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=False)
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.OFF
        rewrite = config.graph_options.rewrite_options
        rewrite.remapping = rewrite.OFF
        # 2, as the adapter wants it, whatever this field calls that number
        rewrite.memory_optimization = rewrite.OFF
        # no optimizer: the adapter looks for its options under this name
        entry = rewrite.custom_optimizers.add()
        entry.name = "NpuOptimizer"
        npu_options.fill(entry.parameter_map, self.options)
        return config

    def random_uniform(self, shape, seed, step, stream):
        return tf.random.uniform(shape, seed=_op_seed(seed, stream, self.workers.rank))

    def _dropout(self, x, rate, seed, step, stream):
        return self.npu_ops.dropout(x, keep_prob=1.0 - rate,
                                    seed=_op_seed(seed, stream, self.workers.rank))

    def loop(self, session, op, steps):
        op = _leaf(self.adapter, "estimator.npu.util").set_iteration_per_loop(session, op, steps)
        if op.name != LOOP_OP:
            raise DeviceError("the adapter named its loop %s, and the device knows it as %s alone: "
                              "it would make one step a "
                              "call; use --steps_per_run 1" % (op.name, LOOP_OP))
        return op

    def without_loop(self):
        kept = {key: value for key,
                value in self.options.items() if key not in npu_options.loop_options(2)}
        return replace(self, options=kept)

    def no_overflow(self, gradients):
        """The device's float status: the oldest chips clamp instead of making infinities, and keep
        a mark that they did.

        Read as the adapter's own loss scaler does; newer chips make infinities and need no mark.
        """
        if _makes_infinities(self.adapter):
            return None
        ops = _leaf(self.adapter, "helper.helper").get_gen_ops()
        if hasattr(ops, "npu_get_float_status_v2"):
            with tf.control_dependencies(gradients):
                status = ops.npu_get_float_status_v2()
            with tf.control_dependencies([status]):
                cleared = ops.npu_clear_float_status_v2()
            with tf.control_dependencies([cleared]):
                return tf.reduce_all(tf.equal(status, tf.zeros_like(status)))
        if hasattr(ops, "npu_get_float_status"):
            fresh = ops.npu_alloc_float_status()
            with tf.control_dependencies(gradients):
                status = ops.npu_get_float_status(fresh)
            return tf.reduce_all(tf.equal(fresh, ops.npu_clear_float_status(status)))
        _log.warning("this adapter has no float status: a gradient that the device clamps is not "
                     "noticed")
        return None


class Hccl(Several):
    """The adapter's own collectives; `adapter` is the name of its package."""

    same_samples = False  # random numbers are not stateless here

    def __init__(self, workers, adapter):
        super().__init__(workers)
        self._adapter = adapter

    def all_reduce(self, tensor):
        return self._ops().allreduce(tensor, "sum")

    def _all_gather(self, tensor):
        return self._ops().allgather(tensor, self.workers.size)

    def broadcast(self, tensors):
        return [self._ops().broadcast([tensor], 0)[0] for tensor in tensors]

    def _ops(self):
        return _leaf(self._adapter, "hccl.hccl_ops")


def communicator(found, adapter):
    """Communicator of parallel.workers.Workers of NPUs."""
    return NOBODY_ELSE if found.size == 1 else Hccl(found, adapter)


def _path(root, name):
    return "%s.%s" % ("npu_device.compat.v1" if root == "npu_device" else root, name)


def _leaf(root, name):
    """A module of the adapter that patches nothing."""
    return importlib.import_module(_path(root, name))


def _makes_infinities(root):
    """Whether overflows of this device become infinities; releases that cannot say know the oldest
    chips alone.
    """
    try:
        return bool(_leaf(root, "estimator.npu.npu_plugin").is_inf_nan_enabled())
    except (ImportError, AttributeError):
        return False


def _op_seed(seed, stream, rank):
    """Lanes and negatives of another rank draw other numbers; op seeds are not negative."""
    return (stream_seed(seed, stream) + rank * 0x5851F42D) % 2 ** 31


def open_npu(reason, options, job, steps_per_run=1, npu_nums=None):
    """Npu, if adapter, device node and libraries are there.

    Args:
      reason: why it is wanted, for the log.
      options: dict of session options, or None.
      job: "train" | "infer". steps_per_run: steps a session call makes on the device.
      npu_nums: devices that train together, or None for what the environment says.
    Raises: Missing: the first piece that is not there, and what mends it. ConfigError: an
    environment that contradicts
      itself.
    """
    resolved = npu_options.resolve(options or {}, job, steps_per_run)
    root = _adapter_name()
    if not _installed(root):
        raise _absent(root)
    if not device_nodes() and os.environ.get(SKIP_CHECK) != "1":
        raise Missing("npu", "no device node /dev/davinci0, /dev/davinci1, ...",
                      "check `npu-smi info`, pass the device to the container, or set %s=1 if it "
                      "has another name"
                      % SKIP_CHECK)
    found = workers.from_environment(npu_nums) if job == "train" else workers.ALONE
    if found.size > 1 and os.environ.get("RANK_TABLE_FILE"):
        rank_table.load(os.environ["RANK_TABLE_FILE"], found.size)
    return Npu(reason, communicator(found, root), resolved, _load(root), root)


def device_nodes():
    """Paths of the NPUs this machine shows, sorted; [] for none."""
    return sorted(glob.glob("/dev/davinci[0-9]*"))


def signs():
    """Whether anything here suggests that an NPU was meant to be used."""
    return bool(device_nodes()) or _installed(_adapter_name())


def findings():
    """What of an NPU is here, without loading its libraries: dict for JSON."""
    root = _adapter_name()
    return {"adapter": root, "adapter_installed": _installed(root),
            "adapter_version": _version(root),
            "hccl_installed": _installed("hccl"), "device_nodes": device_nodes(),
            "set_env": os.environ.get("ASCEND_HOME_PATH") or os.environ.get("ASCEND_OPP_PATH"),
            "supported_ops_file": _supported_ops()}


def _version(root):
    try:
        from importlib import metadata
        return metadata.version(root.replace("_", "-"))
    # Python 3.7 has no such module, a copied adapter no metadata: nothing depends on it
    except Exception:
        return None


def _supported_ops():
    """Path of the toolkit's list of operators; None means that everything would silently run on the
    host.
    """
    found = glob.glob(os.path.join(os.environ.get("ASCEND_OPP_PATH", "/nonexistent"), "**",
                                   "npu_supported_ops.json"),
                      recursive=True)
    return found[0] if found else None


def _adapter_name():
    return "npu_device" if tf_compat.IS_TF2 else "npu_bridge"


def _installed(name):
    """Whether top-level package `name` can be found; looking below the top level would already load
    libraries.
    """
    try:
        return importlib.util.find_spec(name) is not None
    # a module without a spec sits in sys.modules: nothing an installed adapter does
    except ValueError:
        return False


def _absent(root):
    what = "Python package %s, the Ascend adapter for TensorFlow %s, is not installed" % (
        root, "2" if tf_compat.IS_TF2 else "1.15")
    other, wants = ("npu_bridge", "1.15") if tf_compat.IS_TF2 else ("npu_device", "2.6.5")
    if _installed(other):
        return Missing("npu", what,
                       "%s is, but it needs TensorFlow %s and this is %s"
                       % (other, wants, tf.__version__))
    return Missing("npu", what, "install it, or add the directory that holds it to PYTHONPATH")


def _load(root):
    """Import the adapter's leaf modules and return its `npu_ops`; Missing, and no trace left, if
    that fails.
    """
    leaf = _path(root, "estimator.npu_ops")
    if leaf in sys.modules:  # a second choice: the adapter is switched on once
        return sys.modules[leaf]
    before = set(sys.modules)
    said = io.StringIO()  # the adapter prints a missing library to stdout, which belongs to results
    try:
        with contextlib.redirect_stdout(said):
            if root == "npu_device":
                # `compat` is bound to another object once the modules below it are imported: take
                # this first.
                enable_v1 = importlib.import_module(root).compat.enable_v1
                npu_ops = importlib.import_module(leaf)
                enable_v1()
            else:
                npu_ops = importlib.import_module(leaf)
    # ImportError, NotFoundError, NameError, AttributeError: all seen, all mean "not usable"
    except Exception as error:
        for name in set(sys.modules) - before:
            if name == root or name.startswith(root + "."):
                del sys.modules[name]
        raise _broken(root, error, _one_line(said.getvalue())) from error
    if said.getvalue():
        _log.debug("%s said: %s", root, _one_line(said.getvalue()))
    return npu_ops


def _broken(root, error, said):
    """Missing, for an adapter that is installed but does not import."""
    detail = _one_line(str(error)) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        if top == "hccl":
            return Missing("npu", "CANN's Python package hccl is not on PYTHONPATH", _SET_ENV)
        if top not in (root, "tensorflow"):
            return Missing("npu", "%s needs the Python module %s" % (root, error.name),
                           "install it")
    if isinstance(error, (tf.errors.NotFoundError, OSError)) or "npu_bridge_handle" in detail:
        return Missing("npu", "%s cannot load the CANN libraries (%s)" % (root, said or detail),
                       _SET_ENV)
    what = "importing %s failed (%s: %s)" % (root, type(error).__name__, detail)
    if tf_compat.IS_TF2 and tf_compat.TF_VERSION[:2] != (2, 6):
        return Missing("npu", what, "it needs TensorFlow 2.6.5, this is %s" % tf.__version__)
    return Missing("npu", what,
                   "reinstall the adapter that belongs to TensorFlow %s" % tf.__version__)


def _one_line(text, longest=200):
    text = " ".join(text.split())
    return text if len(text) <= longest else text[:longest - 3] + "..."
