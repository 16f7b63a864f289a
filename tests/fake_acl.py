"""A stand-in for pyACL and for atc: what atc.sh passes becomes an .om that runs the .pb beside it
in TensorFlow.

Memory is real (addresses that ctypes may read and write), sizes and directions of copies are
checked, and whatever is left when the device is finalised is in `leaks`. An .om has its inputs in
another order than the graph, after the one of
the gear.
"""

import ctypes
import json
import os
import stat
import sys
import types

import numpy as np

ATC = """#!%s
import json, os, sys
flags = dict(a[2:].split("=", 1) for a in sys.argv[1:])
if "keep_dtype" in flags:
    flags["kept"] = open(flags["keep_dtype"]).read().split()
with open(flags["output"] + ".om", "w") as out:
    json.dump(dict(flags, pb=os.path.abspath(flags["model"])), out)
"""
GEAR = "ascend_mbatch_shape_data"


def install_atc(directory):
    """Write an executable `atc` into a directory, for PATH."""
    path = os.path.join(directory, "atc")
    with open(path, "w") as out:
        out.write(ATC % sys.executable)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


class _Model:
    def __init__(self, path, halves):
        with open(path) as file:
            flags = json.load(file)
        self.batches = [int(n) for n in flags.get("dynamic_batch_size", "").split(",") if n]
        self.batch = self.batches[-1] if self.batches else None
        shapes = [part.split(":") for part in flags["input_shape"].split(";")]
        self.inputs = [(name, [int(n) for n in shape.split(",")]) for name, shape in shapes][::-1]
        if self.batches:
            self.inputs.insert(0, (GEAR, [1]))
        self.out_nodes, self.halves = flags["out_nodes"].split(";"), halves
        from gru4rec.tf_compat import tf
        definition = tf.GraphDef()
        with open(flags["pb"], "rb") as file:
            definition.ParseFromString(file.read())
        self.session = tf.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            tf.import_graph_def(definition, name="")
        zeros = {t: np.zeros(self.shape(t, self.largest), self.dtype(t)) for t,
                 _ in self.inputs if t != GEAR}
        self.outputs = [value.shape for value in self.run(zeros)]

    @property
    def largest(self):
        return max(self.batches, default=None)

    def shape(self, name, batch):
        return [batch if n == -1 else n for n in dict(self.inputs)[name]]

    def dtype(self, name):
        return np.float32 if name.startswith("rnn_state") else np.int32

    def run(self, values):
        out = self.session.run(self.out_nodes,
                               {name + ":0": value for name, value in values.items()})
        return [v.astype(np.float16) if v.dtype == np.float32
                and name.split(":")[0] in self.halves else v
                for name, v in zip(self.out_nodes, out)]


def module(halves=(), fail=()):
    """A fake `acl`.

    Args:
      halves: names of outputs that come as float16. fail: names of calls, such as "mdl.execute",
      that return status 7.
    """
    acl = types.ModuleType("acl")
    acl.rt, acl.mdl = types.SimpleNamespace(), types.SimpleNamespace()
    memory, things, acl.leaks, acl.calls = {}, {}, [], []

    def handle(value):
        things[len(acl.calls) * 1000 + len(things)] = value
        return max(things)

    def status(name, value=()):
        acl.calls.append(name)
        code = 7 if name in fail else 0
        return (value, code) if value != () else code

    def block(address):
        return next(((start, len(b)) for start,
                     b in memory.items() if start <= address < start + len(b)), None)

    def malloc(size, policy):
        assert policy in (0, 1, 2)
        buffer = ctypes.create_string_buffer(size)
        memory[ctypes.addressof(buffer)] = buffer
        return status("rt.malloc", ctypes.addressof(buffer))

    def memcpy(dst, room, src, count, kind):
        assert count <= room
        assert (block(dst) is not None,
                block(src) is not None) == {1: (True, False), 2: (False, True)}[kind]
        start, size = block(dst if kind == 1 else src)
        assert count <= size and start == (dst if kind == 1 else src)
        ctypes.memmove(dst, src, count)
        return status("rt.memcpy")

    def free(pointer):
        del memory[pointer]
        return status("rt.free")

    def drop(name):
        def call(key):
            del things[key]
            return status(name)
        return call

    def finalize():
        acl.leaks += list(memory) + list(things)
        return status("finalize")

    def load(path):
        return status("mdl.load_from_file", handle(_Model(path, halves)))

    def get_desc(desc, model):
        things[desc]["model"] = things[model]
        return status("mdl.get_desc")

    def input_size(desc, index):
        model = things[desc]["model"]
        name, _ = model.inputs[index]
        return 4 * int(np.prod([1] if name == GEAR else model.shape(name, model.largest)))

    def output_size(desc, index):
        model = things[desc]["model"]
        half = model.out_nodes[index].split(":")[0] in model.halves
        return (2 if half else 4) * int(np.prod(model.outputs[index]))

    def index_of(desc, name):
        names = [n for n, _ in things[desc]["model"].inputs]
        acl.calls.append("mdl.get_input_index_by_name")
        return (names.index(name), 0) if name in names else (-1, 100)

    def add(dataset, data):
        things[dataset].append(things[data])
        return dataset, status("mdl.add_dataset_buffer")

    def set_batch(model, dataset, index, batch):
        assert things[model].inputs[index][0] == GEAR
        things[model].batch = batch
        return status("mdl.set_dynamic_batch_size") if batch in things[model].batches else 9

    def execute(model_id, inputs, outputs):
        model = things[model_id]
        values = {}
        for (name, _), (pointer, _) in zip(model.inputs, things[inputs]):
            if name != GEAR:
                shape = model.shape(name, model.batch)
                text = ctypes.string_at(pointer, 4 * int(np.prod(shape)))
                values[name] = np.frombuffer(text, model.dtype(name)).reshape(shape)
        for value, (pointer, size) in zip(model.run(values), things[outputs]):
            assert value.nbytes <= size
            ctypes.memmove(pointer, value.tobytes(), value.nbytes)
        return status("mdl.execute")

    acl.init, acl.finalize = lambda: status("init"), finalize
    acl.create_data_buffer = lambda p, size: handle((p, size))
    acl.destroy_data_buffer = drop("destroy_data_buffer")
    rt, mdl = acl.rt, acl.mdl
    rt.set_device = lambda i: status("rt.set_device")
    rt.reset_device = lambda i: status("rt.reset_device")
    rt.create_context = lambda i: status("rt.create_context", handle("context"))
    rt.destroy_context = drop("rt.destroy_context")
    rt.malloc, rt.free, rt.memcpy = malloc, free, memcpy
    mdl.load_from_file, mdl.unload = load, drop("mdl.unload")
    mdl.create_desc, mdl.get_desc = lambda: handle({}), get_desc
    mdl.destroy_desc = drop("mdl.destroy_desc")
    mdl.get_num_inputs = lambda desc: len(things[desc]["model"].inputs)
    mdl.get_num_outputs = lambda desc: len(things[desc]["model"].out_nodes)
    mdl.get_input_size_by_index, mdl.get_output_size_by_index = input_size, output_size
    mdl.get_input_index_by_name, mdl.add_dataset_buffer = index_of, add
    mdl.create_dataset, mdl.destroy_dataset = lambda: handle([]), drop("mdl.destroy_dataset")
    mdl.set_dynamic_batch_size, mdl.execute = set_batch, execute
    return acl
