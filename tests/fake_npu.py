"""Fakes of the Ascend adapters, `npu_bridge` (TF 1.15) and `npu_device` (TF 2), for the CPU.

`installed(...)` puts one where `import` finds it, and removes every trace afterwards:

    with fake_npu.installed("npu_bridge") as fake:
        device.choose("npu")
        assert fake.imported == ["npu_bridge", "npu_bridge.estimator",
                                 "npu_bridge.estimator.npu_ops"]

As in the real ones, modules run code when they are imported (`npu_init` patches Session), and all
modules of `npu_device` are under `npu_device.compat.v1`, while the attribute `npu_device.compat` is
another object.
"""

import contextlib
import importlib
import importlib.machinery
import sys
import threading
import types

import numpy as np

from gru4rec.tf_compat import tf

ADAPTERS = ("npu_bridge", "npu_device")


class Fake:
    """One fake adapter: its modules, and what was done with it.

    name: top-level package.
    imported: names of its modules in the order in which they were imported.
    calls: (function, arguments) in the order of the calls.
    failure: None, or how the import fails; see `installed`.
    """

    def __init__(self, name, failure=None, rank_size=1):
        self.name = name
        self.failure = failure
        self.rank_size = rank_size
        self.collective = None
        # of a chip that clamps
        self.float_status, self.float_status_api, self.inf_nan = 0.0, "v2", False
        self.imported = []
        self.calls = []
        self.builders = {name: self._root, "hccl": _nothing, "hccl.manage": _nothing,
                         "hccl.manage.api": self._manage}
        base = name
        if name == "npu_device":
            base = "npu_device.compat.v1"
            self.builders.update({"npu_device.compat": _nothing, base: _nothing})
        leaves = {
            "npu_init": self._npu_init, "helper": _nothing, "helper.helper": self._helper,
            "hccl": _nothing, "hccl.hccl_ops": self._hccl_ops, "estimator": _nothing,
            "estimator.npu_ops": self._npu_ops,
            "estimator.npu": _nothing, "estimator.npu.util": self._util,
            "estimator.npu.npu_scope": self._npu_scope,
            "estimator.npu.npu_optimizer": self._npu_optimizer,
            "estimator.npu.npu_plugin": self._npu_plugin,
        }
        if name == "npu_bridge":  # both need contrib, which TF 2 does not have
            leaves["estimator.npu.npu_loss_scale_manager"] = _loss_scale_manager
            leaves["estimator.npu.npu_loss_scale_optimizer"] = _loss_scale_optimizer
        self.builders.update({base + "." + leaf: builder for leaf, builder in leaves.items()})
        if failure == "no hccl":
            for module in ("hccl", "hccl.manage", "hccl.manage.api"):
                del self.builders[module]

    def module(self, leaf):
        """Imported module `leaf`, for example "estimator.npu.util"."""
        base = "npu_bridge" if self.name == "npu_bridge" else "npu_device.compat.v1"
        return importlib.import_module(base + "." + leaf)

    # The importer protocol: one object is finder and loader.

    def find_spec(self, name, path=None, target=None):
        if name not in self.builders:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        self.imported.append(module.__name__)
        self.builders[module.__name__](module)

    # What each module holds.

    def _root(self, module):
        module.__version__ = "fake"
        if self.failure == "no libraries" and self.name == "npu_bridge":
            # prints, goes on, and stays in sys.modules
            importlib.import_module("npu_bridge.helper.helper")
            raise ImportError("cannot import name 'npu_bridge_handle' from "
                              "'npu_bridge.helper.helper'")
        if self.failure == "no hccl":
            importlib.import_module(self.name + ".helper" if self.name == "npu_bridge"
                                    else "npu_device.compat")
            importlib.import_module("hccl.manage.api")
        if self.failure == "no module":
            raise ModuleNotFoundError("No module named 'decorator'", name="decorator")
        if self.failure == "broken":
            raise AttributeError("two\nlines")
        if self.name == "npu_device":
            module.compat = types.SimpleNamespace(enable_v1=self._enable_v1,
                                                  v1=types.SimpleNamespace())

    def _enable_v1(self):
        self.calls.append(("enable_v1",))
        if self.failure == "no libraries":
            raise tf.errors.NotFoundError(None, None,
                                          "libge_runner.so: cannot open shared object file")

    def _helper(self, module):
        if self.failure == "no libraries":
            print("libge_runner.so: cannot open shared object file")
        else:
            module.npu_bridge_handle = object()
            module.get_gen_ops = self._gen_ops

    def _gen_ops(self):
        """Ops that read and clear the float status, as old or new releases have them."""
        def status(api, value):
            self.calls.append(("float_status", api))
            return tf.constant([value] * 8)

        ops = types.SimpleNamespace()
        if self.float_status_api == "v2":
            ops.npu_get_float_status_v2 = lambda: status("v2", self.float_status)
            ops.npu_clear_float_status_v2 = lambda: status("v2", 0.0)
        elif self.float_status_api == "v1":  # reading writes into the tensor that was allocated
            ops.npu_alloc_float_status = lambda: status("v1", self.float_status)
            ops.npu_get_float_status = lambda fresh: tf.identity(fresh)
            ops.npu_clear_float_status = lambda read: tf.zeros_like(read)
        return ops

    def _npu_init(self, module):
        real = tf.Session.__init__

        def patched(session, *args, **kwargs):
            self.calls.append(("patched Session",))
            real(session, *args, **kwargs)

        self._undo = lambda: setattr(tf.Session, "__init__", real)
        tf.Session.__init__ = patched

    def _undo(self):
        pass

    def _npu_ops(self, module):
        def dropout(x, keep_prob, noise_shape=None, seed=None, name=None):
            self.calls.append(("dropout", keep_prob, seed))
            return tf.nn.dropout(x, rate=1.0 - keep_prob, noise_shape=noise_shape, seed=seed,
                                 name=name)

        module.dropout = dropout
        module.initialize_system = lambda name=None: tf.no_op(name)
        module.shutdown_system = lambda name=None: tf.no_op(name)

    def _util(self, module):
        def set_iteration_per_loop(session, train_op, iterations_per_loop=1):
            if not isinstance(train_op, tf.Operation):
                raise ValueError("train_op is not an Operation")
            self.calls.append(("set_iteration_per_loop", iterations_per_loop))
            if iterations_per_loop == 1:
                return train_op
            # IterationOp_1 if there is one already, or inside a scope
            looped = tf.group(train_op, name="IterationOp")
            # The device recognises only this name; it runs any other op once.
            if looped.name == "IterationOp":
                self._repeat(session, looped, iterations_per_loop)
            return looped

        module.set_iteration_per_loop = set_iteration_per_loop

    def _repeat(self, session, op, times):
        """Make the session run `op` `times` times; other fetches are those of the last time."""
        entry = session._config.graph_options.rewrite_options.custom_optimizers[0]
        options = {key: (value.b or value.i) for key, value in entry.parameter_map.items()}
        assert options["iterations_per_loop"] == times, "the session knows no such loop"
        assert options["enable_data_pre_proc"], "the session knows no such loop"
        assert not options["mix_compile_mode"]
        run = session.run

        def repeating(fetches, feed_dict=None):
            if isinstance(fetches, list) and op in fetches:
                assert not feed_dict, "every iteration would see the same feed"
                for _ in range(times - 1):
                    run(op)
                self.calls.append(("device loop", times))
            return run(fetches, feed_dict)

        session.run = repeating

    def _npu_scope(self, module):
        def scope(name):
            @contextlib.contextmanager
            def enter():
                self.calls.append((name,))
                yield
            return enter

        module.keep_dtype_scope = scope("keep_dtype_scope")
        module.without_npu_compile_scope = scope("without_npu_compile_scope")

    def _npu_optimizer(self, module):
        def wrap(opt, *args, **kwargs):
            self.calls.append(("wrap", type(opt).__name__))
            return opt

        module.npu_distributed_optimizer_wrapper = wrap
        module.NPUDistributedOptimizer = wrap
        module.NPUOptimizer = wrap

    def _npu_plugin(self, module):
        module.is_inf_nan_enabled = lambda: self.inf_nan
        module.set_device_sat_mode = lambda mode: self.calls.append(("set_device_sat_mode", mode))

    def _hccl_ops(self, module):
        def broadcast(tensor, root_rank, fusion=2, fusion_id=0, group="hccl_world_group"):
            assert isinstance(tensor, list), "broadcast takes a list"
            self.calls.append(("broadcast", len(tensor), root_rank))
            return [self._together(tf.identity(t), lambda parts: parts[root_rank], "broadcast")
                    for t in tensor]

        def allreduce(tensor, reduction, fusion=1, fusion_id=-1, group="hccl_world_group"):
            assert reduction == "sum"
            self.calls.append(("allreduce", reduction))
            return self._together(tensor, lambda parts: sum(parts[1:], parts[0]))  # in rank order

        def allgather(tensor, rank_size, group="hccl_world_group"):
            assert rank_size == self.rank_size
            self.calls.append(("allgather", rank_size))
            return self._together(tensor, np.concatenate)

        module.broadcast, module.allreduce, module.allgather = broadcast, allreduce, allgather

    def _together(self, tensor, combine, kind=""):
        """`combine` of the values on all ranks: threads (`Collective`), or equal values."""
        if self.collective is None:
            return tf.py_func(lambda value: combine([value] * self.rank_size), [tensor],
                              tensor.dtype)
        return self.collective.op(tensor, combine, kind)

    def _manage(self, module):
        module.get_rank_size = lambda: self.rank_size
        module.get_rank_id = lambda: 0


class Collective:
    """Ranks as threads of one process; a collective op waits until all ranks have given a value.

    A thread sets `me.rank` before it builds its graph. The n-th collective op of each graph belongs
    to the n-th of all others. Each waits for the one before it in its graph, since different orders
    would be a deadlock.
    """

    def __init__(self, size, seconds=120):
        self.me, self._size, self._seconds = threading.local(), size, seconds
        self._ready, self._given, self._taken = threading.Condition(), {}, {}

    def op(self, tensor, combine, kind=""):
        me = self.me
        if getattr(me, "graph", None) is not tf.get_default_graph():
            me.graph, me.count, me.last = tf.get_default_graph(), 0, {}
        me.count += 1
        rank, number = me.rank, me.count
        # broadcasts are run apart from the others
        with tf.control_dependencies(me.last.get(kind, [])):
            out = tf.py_func(lambda value: self._meet(rank, number, value, combine), [tensor],
                             tensor.dtype.base_dtype)
        me.last[kind] = [out]
        return out

    def _meet(self, rank, number, value, combine):
        with self._ready:
            turn = self._taken.get((rank, number), 0)  # how often this op ran before
            self._taken[rank, number] = turn + 1
            parts = self._given.setdefault((number, turn), {})
            parts[rank] = np.array(value)
            self._ready.notify_all()
            if not self._ready.wait_for(lambda: len(parts) == self._size, self._seconds):
                raise RuntimeError("a rank never came to collective op %d" % number)
        return np.asarray(combine([parts[r] for r in range(self._size)]), parts[rank].dtype)


def _nothing(module):
    pass


def _loss_scale_manager(module):
    class FixedLossScaleManager:
        def __init__(self, loss_scale):  # no second argument in old releases
            self.loss_scale = loss_scale

    module.FixedLossScaleManager = FixedLossScaleManager


def _loss_scale_optimizer(module):
    module.NPULossScaleOptimizer = lambda opt, loss_scale_manager, is_distributed=False: opt


def break_sessions(ending):
    """Make sessions of this process end as real ones do.

    Args: ending: "abort" | "error" | "compiled" (they work, and log it) | "hang".
    """
    import os
    import time
    real, sign = tf.Session.run, "[GePlugin] Initialize ge failed"

    def run(session, *args, **kwargs):
        if ending == "abort":
            os.write(2, (sign + "\n").encode())
            os.abort()
        if ending == "error":
            raise tf.errors.InternalError(None, None, sign)
        if ending == "hang":
            time.sleep(60)
        print("The model has been compiled on the Ascend AI processor, current graph id is: 1")
        return real(session, *args, **kwargs)

    tf.Session.run = run


@contextlib.contextmanager
def installed(name, failure=None, rank_size=1):
    """A fake adapter in place.

    Args:
      name: "npu_bridge" | "npu_device".
      failure: None | "no libraries" (set_env.sh not sourced) | "no hccl" | "no module" | "broken".
      rank_size: devices that the fake collectives pretend.
    Yields: Fake.
    """
    fake = Fake(name, failure, rank_size)
    _forget()
    sys.meta_path.insert(0, fake)
    try:
        yield fake
    finally:
        sys.meta_path.remove(fake)
        fake._undo()
        _forget()


def traces():
    """Names in sys.modules that belong to an adapter."""
    return sorted(name for name in sys.modules if name.partition(".")[0] in ADAPTERS + ("hccl",))


def _forget():
    for name in traces():
        del sys.modules[name]

