"""Huawei Ascend NPU; the only module that names its TensorFlow adapters.

The adapter is `npu_bridge` for TensorFlow 1.15 and `npu_device` for TensorFlow 2. Its `npu_init`
modules are never imported: since 2022 they patch every Session of the process. Only leaf modules
are imported, and only after the cheaper checks have passed.
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
LOOP_OP = "IterationOp"  # the device repeats an op of exactly this name
_SET_ENV = ("run `source /usr/local/Ascend/cann/set_env.sh` (older releases: "
            "/usr/local/Ascend/ascend-toolkit/set_env.sh) in this shell and start again")


@dataclass(frozen=True, eq=False)
class Npu(Device):
    """One Ascend NPU, used through its adapter.

    options: the checked session options (`parameter_map`).
    npu_ops: the adapter's module of graph ops.
    adapter: name of the adapter's package.
    """

    options: Dict[str, Any] = field(default_factory=dict)
    npu_ops: Any = None
    adapter: str = ""

    name = "npu"
    use_resource = False  # the NPU has no operator for gather and scatter on resource variables
    conservative_optimizer = True
    stateless = False  # the NPU has no operator StatelessRandomUniform
    loops = True

    def session_config(self):
        config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=False)
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.OFF
        rewrite = config.graph_options.rewrite_options
        rewrite.remapping = rewrite.OFF
        # The adapter asks for RewriterConfig.OFF, which is 2; this field has another name for 2.
        rewrite.memory_optimization = rewrite.OFF
        # Not an optimizer: the adapter looks for its options under this name.
        entry = rewrite.custom_optimizers.add()
        entry.name = "NpuOptimizer"
        npu_options.fill(entry.parameter_map, self.options)
        return config

    def random_int31(self, shape, seed, step, stream):
        # The upper 15 and the lower 16 bits, each from a uniform number in [0, 1).
        uniform = tf.random.uniform([2] + list(shape),
                                    seed=_op_seed(seed, stream, self.workers.rank))
        high = tf.cast(tf.floor(uniform[0] * 2.0 ** 15), tf.int32)
        low = tf.cast(tf.floor(uniform[1] * 2.0 ** 16), tf.int32)
        return high * 2 ** 16 + low

    def _dropout(self, x, rate, seed, step, stream):
        return self.npu_ops.dropout(x, keep_prob=1.0 - rate,
                                    seed=_op_seed(seed, stream, self.workers.rank))

    def loop(self, session, op, steps):
        op = _leaf(self.adapter, "estimator.npu.util").set_iteration_per_loop(session, op, steps)
        if op.name != LOOP_OP:
            raise DeviceError("the adapter named its loop %s, but the device recognises only the "
                              "name %s and would make one step per call; use --steps_per_run 1"
                              % (op.name, LOOP_OP))
        return op

    def without_loop(self):
        of_loop = npu_options.loop_options(2)
        return replace(self, options={key: value for key, value in self.options.items()
                                      if key not in of_loop})

    def no_overflow(self, gradients):
        """Read the device's float status, as the adapter's own loss scaler does.

        The oldest chips (910A) clamp values instead of making infinities, and keep a mark that they
        did. Newer chips make infinities and need no mark.
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
        _log.warning("this adapter has no float status: gradients that the device clamps are not "
                     "detected")
        return None


class Hccl(Several):
    """The collective operations of the adapter; `adapter` is the name of its package."""

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


def communicator(together, adapter):
    """Communicator of NPUs that train together; together: parallel.workers.Workers."""
    return NOBODY_ELSE if together.size == 1 else Hccl(together, adapter)


def _path(root, name):
    return "%s.%s" % ("npu_device.compat.v1" if root == "npu_device" else root, name)


def _leaf(root, name):
    """Import one module of the adapter; the modules asked for here patch nothing."""
    return importlib.import_module(_path(root, name))


def _makes_infinities(root):
    """Whether an overflow on this device gives infinity.

    Adapters without this function only know the oldest chips, which clamp.
    """
    try:
        return bool(_leaf(root, "estimator.npu.npu_plugin").is_inf_nan_enabled())
    except (ImportError, AttributeError):
        return False


def _op_seed(seed, stream, rank):
    """Seed of a random op: different on each rank, and not negative."""
    return (stream_seed(seed, stream) + rank * 0x5851F42D) % 2 ** 31


def open_npu(reason, options, job, steps_per_run=1, npu_nums=None):
    """Npu, if its adapter, a device node and the libraries are there.

    Args:
      reason: why it was chosen, for the log.
      options: dict of session options, or None.
      job: "train" | "infer".
      steps_per_run: steps that a session call makes on the device.
      npu_nums: number of devices that train together; None: as the environment says.
    Raises: Missing, which names the first piece that is not there and how to fix it; ConfigError
      if the environment contradicts itself.
    """
    resolved = npu_options.resolve(options or {}, job, steps_per_run)
    root = _adapter_name()
    if not _installed(root):
        raise _not_installed(root)
    if not device_nodes() and os.environ.get(SKIP_CHECK) != "1":
        raise Missing("npu", "no device node /dev/davinci0, /dev/davinci1, ...",
                      "check `npu-smi info`, pass the device to the container, or set %s=1 if the "
                      "node has another name" % SKIP_CHECK)
    together = workers.from_environment(npu_nums) if job == "train" else workers.ALONE
    if together.size > 1 and os.environ.get("RANK_TABLE_FILE"):
        rank_table.load(os.environ["RANK_TABLE_FILE"], together.size)
    return Npu(reason, communicator(together, root), resolved, _load(root), root)


def device_nodes():
    """Paths of the NPU device nodes of this machine, sorted."""
    return sorted(glob.glob("/dev/davinci[0-9]*"))


def signs():
    """Whether anything on this machine suggests that an NPU is meant to be used."""
    return bool(device_nodes()) or _installed(_adapter_name())


def findings():
    """What an NPU needs and what of it is here; loads no libraries. Returns: dict for JSON."""
    root = _adapter_name()
    return {"adapter": root, "adapter_installed": _installed(root),
            "adapter_version": _version(root), "hccl_installed": _installed("hccl"),
            "device_nodes": device_nodes(),
            "set_env": os.environ.get("ASCEND_HOME_PATH") or os.environ.get("ASCEND_OPP_PATH"),
            "supported_ops_file": _supported_ops()}


def _version(root):
    try:
        from importlib import metadata
        return metadata.version(root.replace("_", "-"))
    except Exception:  # no such module in Python 3.7, no metadata of a copied adapter: only a note
        return None


def _supported_ops():
    """Path of the toolkit's list of operators, or None.

    Without this list the adapter silently runs everything on the host.
    """
    toolkit = os.environ.get("ASCEND_OPP_PATH", "/nonexistent")
    paths = glob.glob(os.path.join(toolkit, "**", "npu_supported_ops.json"), recursive=True)
    return paths[0] if paths else None


def _adapter_name():
    return "npu_device" if tf_compat.IS_TF2 else "npu_bridge"


def _installed(name):
    """Whether the top-level package `name` is installed.

    A look below the top level would already load the package's libraries.
    """
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # sys.modules holds a module without a spec: not an installed adapter
        return False


def _not_installed(root):
    """Missing, for an adapter that is not installed."""
    if tf_compat.IS_TF2:
        version, other, other_version = "2", "npu_bridge", "1.15"
    else:
        version, other, other_version = "1.15", "npu_device", "2.6.5"
    what = "Python package %s, the Ascend adapter for TensorFlow %s, is not installed" % (
        root, version)
    if _installed(other):
        return Missing("npu", what, "%s is, but it needs TensorFlow %s and this is %s"
                       % (other, other_version, tf.__version__))
    return Missing("npu", what, "install it, or add the directory that holds it to PYTHONPATH")


def _load(root):
    """Import the adapter's leaf modules; returns its `npu_ops`.

    Raises: Missing if that fails; the modules that were imported by then are removed again.
    """
    leaf = _path(root, "estimator.npu_ops")
    if leaf in sys.modules:  # loaded by an earlier choice; the adapter is switched on only once
        return sys.modules[leaf]
    before = set(sys.modules)
    # The adapter prints a missing library to stdout, which is for results only.
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            if root == "npu_device":
                # Importing the modules below `compat` binds the name `compat` to another object:
                # take this function first.
                enable_v1 = importlib.import_module(root).compat.enable_v1
                npu_ops = importlib.import_module(leaf)
                enable_v1()
            else:
                npu_ops = importlib.import_module(leaf)
    # ImportError, NotFoundError, NameError and AttributeError occur; all mean "not usable".
    except Exception as error:
        for name in set(sys.modules) - before:
            if name == root or name.startswith(root + "."):
                del sys.modules[name]
        raise _broken(root, error, _one_line(printed.getvalue())) from error
    if printed.getvalue():
        _log.debug("%s printed: %s", root, _one_line(printed.getvalue()))
    return npu_ops


def _broken(root, error, printed):
    """Missing, for an adapter that is installed but whose import fails."""
    detail = _one_line(str(error)) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        if top == "hccl":
            return Missing("npu", "CANN's Python package hccl is not on PYTHONPATH", _SET_ENV)
        if top not in (root, "tensorflow"):
            return Missing("npu", "%s needs the Python module %s" % (root, error.name),
                           "install it")
    if isinstance(error, (tf.errors.NotFoundError, OSError)) or "npu_bridge_handle" in detail:
        return Missing("npu", "%s cannot load the CANN libraries (%s)" % (root, printed or detail),
                       _SET_ENV)
    what = "importing %s failed (%s: %s)" % (root, type(error).__name__, detail)
    if tf_compat.IS_TF2 and tf_compat.TF_VERSION[:2] != (2, 6):
        return Missing("npu", what, "it needs TensorFlow 2.6.5, this is %s" % tf.__version__)
    return Missing("npu", what,
                   "reinstall the adapter that belongs to TensorFlow %s" % tf.__version__)


def _one_line(text, longest=200):
    text = " ".join(text.split())
    return text if len(text) <= longest else text[:longest - 3] + "..."
