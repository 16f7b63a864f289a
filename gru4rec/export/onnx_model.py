"""--format onnx: step.onnx and prefix.onnx, written node by node from the weights; no TensorFlow
takes part.

The graph is a handful of nodes per layer, so that a converter would bring more versions to mind
than it saves. Opset 13, IR 7: what ONNX Runtime has read since 1.6. The prefix is a Scan over the
ids, so that any length can be given.
"""

import os

import numpy as np

from gru4rec.errors import InputError
from gru4rec.export import signature
from gru4rec.model import similarity

OPSET, IR = 13, 7
INLINE_BYTES = 2 ** 31 - 2 ** 20  # weights beyond lie in a file of their own: protobuf's limit


def import_onnx():
    """The module onnx.

    Raises: InputError if it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError("--format onnx: onnx cannot be imported (%s); pip install onnx"
                         % error) from None
    return onnx


def write(directory, source, k):
    """Write both graphs.

    Args:
      directory: exists. source: export.source.Source. k: items of a list.
    Returns: dict name -> entry of the manifest.
    """
    step = signature.of_step(source.model.size, source.num_items, None, k)
    prefix = signature.of_prefix(source.num_items, None, None, k)
    entries = {}
    for name, expected, build in ((signature.STEP, step, _step),
                                  (signature.PREFIX, prefix, _prefix)):
        writer = _Writer(source)
        build(writer, expected)
        writer.save(os.path.join(directory, name + ".onnx"), name, expected)
        entries[name] = dict(expected.to_dict(), file=name + ".onnx")
    return entries


class _Writer:
    """Collects nodes and the weights they use; every method returns the name of what it computes.
    """

    def __init__(self, source, outer=None):
        """outer: the _Writer around it, whose weights a body may use."""
        self.onnx, self.source, self.nodes, self._outer = import_onnx(), source, [], outer
        self.weights = {} if outer is None else outer.weights

    def op(self, kind, *inputs, **attributes):
        """A node of one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind, count, *inputs, **attributes):
        """A node of several outputs: list of their names."""
        stem = "%s%s_%d" % ("" if self._outer is None else "body_", kind.lower(), len(self.nodes))
        outputs = ["%s_%d" % (stem, i) if count > 1 else stem for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, name=stem,
                                                     **attributes))
        return outputs

    def weight(self, name, array=None):
        """A weight of the model under its own name, or another constant."""
        self.weights.setdefault(name,
                                self.source.dense[name] if array is None else np.asarray(array))
        return name

    def output(self, name, tensor):
        """Give what was computed the name of an output."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [name], [tensor], name=tensor))

    def info(self, name, dtype, shape):
        """ValueInfo; dimensions that are None are named, equal ones alike."""
        kinds = {"int32": self.onnx.TensorProto.INT32, "float32": self.onnx.TensorProto.FLOAT}
        names = ("batch", "length")
        return self.onnx.helper.make_tensor_value_info(
            name, kinds[dtype], [names[i] if n is None else n for i, n in enumerate(shape)])

    def save(self, path, name, expected):
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, name, [self.info(t.name, t.dtype, t.shape) for t in expected.inputs],
            [self.info(t.name, t.dtype, t.shape) for t in expected.outputs],
            [self.onnx.numpy_helper.from_array(array, weight) for weight,
             array in self.weights.items()])
        model = helper.make_model(graph, producer_name="gru4rec",
                                  opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR
        apart = self.source.num_bytes > INLINE_BYTES
        if not apart:
            self.onnx.checker.check_model(model)
        self.onnx.save_model(model, path,
                             **(dict(save_as_external_data=True,
                                     location=os.path.basename(path) + ".data")
                                             if apart else {}))


def _step(writer, expected):
    ids, *states = [t.name for t in expected.inputs]
    new = _advance(writer, ids, states)
    scores = _scores(writer, new)
    for found, tensor in zip([scores] + _best(writer, scores, expected.outputs[1].shape[1]) + new,
                             expected.outputs):
        writer.output(found, tensor.name)


def _prefix(writer, expected):
    """A Scan over ids [B, T] along T, ids beyond the length replaced by -1."""
    length = writer.op("Gather", writer.op("Shape", "ids"), writer.weight("one", np.int64(1)),
                       axis=0)
    places = writer.op("Range", writer.weight("zero", np.int64(0)), length,
                       writer.weight("one", np.int64(1)))
    axis = writer.weight("axis_1", np.array([1], np.int64))
    lengths = writer.op("Unsqueeze", "lengths", axis)
    inside = writer.op("Less", writer.op("Cast", places, to=writer.onnx.TensorProto.INT32), lengths)
    ids = writer.op("Where", inside, "ids", writer.weight("minus_one", np.int32(-1)))
    nothing = writer.op("Cast", writer.op("Mul", lengths, writer.weight("no_rows", np.int32(0))),
                        to=writer.onnx.TensorProto.FLOAT)
    size = writer.source.model.size
    start = [writer.op("Mul", nothing,
                       writer.weight("zeros_%d" % i, np.zeros((1, hidden), np.float32)))
             for i, hidden in enumerate(size)]
    states = writer.ops("Scan", len(size), *(start + [ids]), body=_body(writer, size),
                        num_scan_inputs=1,
                        scan_input_axes=[1])
    for found, tensor in zip(_best(writer, _scores(writer, states), expected.outputs[0].shape[1]),
                             expected.outputs):
        writer.output(found, tensor.name)


def _body(writer, size):
    """The graph of one step of the Scan: states, ids -> states."""
    body = _Writer(writer.source, writer)
    shapes = [(None, hidden) for hidden in size]
    states = ["body_state_%d" % i for i in range(len(size))]
    for i, found in enumerate(_advance(body, "body_ids", states)):
        body.output(found, "body_new_state_%d" % i)
    inputs = [body.info(name, "float32", shape) for name, shape in zip(states, shapes)]
    return body.onnx.helper.make_graph(
        body.nodes, "body", inputs + [body.info("body_ids", "int32", (None,))],
        [body.info("body_new_state_%d" % i, "float32", shape) for i, shape in enumerate(shapes)])


def _advance(writer, ids, states):
    """New states: the stacked cells once, as graph.step.advance; an id outside 0..I-1 leaves the
    states.
    """
    op = writer.op
    last = writer.weight("last_item", np.int32(writer.source.num_items - 1))
    rows = op("Min", op("Max", ids, writer.weight("first_item", np.int32(0))), last)
    known = op("Unsqueeze", op("Cast", op("Equal", rows, ids), to=writer.onnx.TensorProto.FLOAT),
               writer.weight("axis_1", np.array([1], np.int64)))
    unknown = op("Sub", writer.weight("one_float", np.float32(1)), known)
    source = writer.source
    if source.shares_table:
        table = writer.weight("output_rows", source.output_rows)
    else:
        table = writer.weight("input_rows", source.input_rows)
    x, new = op("Gather", table, rows, axis=0), []
    for layer, old in enumerate(states):
        x = _cell(writer, layer, x, old)
        new.append(op("Add", op("Mul", known, x), op("Mul", unknown, old)))
    return new


def _cell(writer, layer, x, h):
    """The state after one input, as graph.cell.gru_step."""
    model, op, scope = writer.source.model, writer.op, "gru_layer_%d/" % layer
    hidden = model.size[layer]
    given = layer == 0 and model.embedding == "none"  # x is what it adds before the activations
    x_gates, x_candidate = _split(writer, x, (2 * hidden, hidden)) if given else (None, None)

    def product(part, given_part, state_name):
        kernel, bias = writer.weight(scope + part
                                     + "/kernel"), writer.weight(scope + part + "/bias")
        if given:
            return op("Add", op("Add", given_part, op("MatMul", state_name, kernel)), bias)
        return op("Add", op("MatMul", op("Concat", x, state_name, axis=1), kernel), bias)

    r, u = _split(writer, op("Sigmoid", product("gates", x_gates, h)), (hidden, hidden))
    c = _activation(writer, product("candidate", x_candidate, op("Mul", r, h)))
    keep, take = u, op("Sub", writer.weight("one_float", np.float32(1)), u)
    if model.cell == "official":
        keep, take = take, keep
    return op("Add", op("Mul", keep, h), op("Mul", take, c))


def _split(writer, name, sizes):
    return writer.ops("Split", 2, name,
                      writer.weight("split_%d_%d" % sizes, np.array(sizes, np.int64)), axis=1)


def _activation(writer, name):
    """As graph.activations.get."""
    model = writer.source.model
    if model.hidden_act == "elu":
        return writer.op("Elu", name, alpha=model.elu) if model.elu else name
    return writer.op({"tanh": "Tanh", "relu": "Relu"}[model.hidden_act], name)


def _scores(writer, states):
    """[B, I] raw scores of all items; for --score cosine of outputs of length 1, as
    model.similarity.unit.
    """
    source, op, output = writer.source, writer.op, states[-1]
    if source.model.score == "cosine":
        squares = op("ReduceSum", op("Mul", output, output),
                     writer.weight("axis_1", np.array([1], np.int64)), keepdims=1)
        length = op("Sqrt",
                    op("Add", squares, writer.weight("epsilon", np.float32(similarity.EPSILON))))
        output = op("Div", output, length)
    return op("Gemm", output, writer.weight("output_rows", source.output_rows),
              writer.weight("bias", source.bias), transB=1)


def _best(writer, scores, k):
    """[item indices int32, their scores] of the k best, the lower index first among equals."""
    values, indices = writer.ops("TopK", 2, scores, writer.weight("k", np.array([k], np.int64)),
                                 axis=1)
    return [writer.op("Cast", indices, to=writer.onnx.TensorProto.INT32), values]
