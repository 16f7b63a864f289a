"""--format onnx: step.onnx and prefix.onnx, written node by node from the weights.

A layer is a handful of nodes, so no converter from TensorFlow is needed, whose version would have
to fit too. Opset 13 and IR 7 are what ONNX Runtime reads since 1.6. The prefix graph is a Scan over
the ids, so a session may have any length.
"""

import os

import numpy as np

from gru4rec.errors import InputError
from gru4rec.export import signature
from gru4rec.model import similarity

OPSET, IR = 13, 7
# larger weights lie in a file of their own, because of protobuf's limit for a message
INLINE_BYTES = 2 ** 31 - 2 ** 20


def import_onnx():
    """Import onnx -> the module.

    Raises: InputError if it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError("--format onnx: onnx cannot be imported (%s); pip install onnx"
                         % error) from None
    return onnx


def write(directory, source, k):
    """Write step.onnx and prefix.onnx.

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
    """Collects nodes and the weights they use.

    `op`, `ops` and `weight` return the name of what the node computes or holds.
    """

    def __init__(self, source, outer=None):
        """source: export.source.Source. outer: for the body of a Scan, the _Writer around it."""
        self.onnx, self.source, self.nodes, self._outer = import_onnx(), source, [], outer
        self.weights = {} if outer is None else outer.weights

    def op(self, kind, *inputs, **attributes):
        """Add a node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind, count, *inputs, **attributes):
        """Add a node with `count` outputs -> list of their names."""
        stem = "%s_%d" % (kind.lower(), len(self.nodes))
        if self._outer is not None:
            stem = "body_" + stem
        outputs = [stem] if count == 1 else ["%s_%d" % (stem, i) for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, name=stem,
                                                     **attributes))
        return outputs

    def weight(self, name, array=None):
        """Add a weight: `array`, or without one the dense weight of this name."""
        if array is None:
            array = self.source.dense[name]
        self.weights.setdefault(name, np.asarray(array))
        return name

    def output(self, name, tensor):
        """Give the result `name` the name `tensor` of an output."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [name], [tensor], name=tensor))

    def info(self, name, dtype, shape):
        """The ValueInfo of a tensor; dimensions that are None are named "batch" and "length"."""
        kinds = {"int32": self.onnx.TensorProto.INT32, "float32": self.onnx.TensorProto.FLOAT}
        names = ("batch", "length")
        return self.onnx.helper.make_tensor_value_info(
            name, kinds[dtype], [names[i] if n is None else n for i, n in enumerate(shape)])

    def save(self, path, name, expected):
        """Write the graph to a file. expected: export.signature.Signature."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, name, [self.info(t.name, t.dtype, t.shape) for t in expected.inputs],
            [self.info(t.name, t.dtype, t.shape) for t in expected.outputs],
            [self.onnx.numpy_helper.from_array(array, weight)
             for weight, array in self.weights.items()])
        model = helper.make_model(graph, producer_name="gru4rec",
                                  opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR
        if self.source.num_bytes > INLINE_BYTES:
            self.onnx.save_model(model, path, save_as_external_data=True,
                                 location=os.path.basename(path) + ".data")
        else:
            self.onnx.checker.check_model(model)
            self.onnx.save_model(model, path)


def _step(writer, expected):
    ids, *states = [t.name for t in expected.inputs]
    new = _advance(writer, ids, states)
    scores = _scores(writer, new)
    results = [scores] + _best(writer, scores, expected.outputs[1].shape[1]) + new
    for name, tensor in zip(results, expected.outputs):
        writer.output(name, tensor.name)


def _prefix(writer, expected):
    """A Scan over ids [B, T] along T; ids beyond the length become -1."""
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
                        num_scan_inputs=1, scan_input_axes=[1])
    results = _best(writer, _scores(writer, states), expected.outputs[0].shape[1])
    for name, tensor in zip(results, expected.outputs):
        writer.output(name, tensor.name)


def _body(writer, size):
    """The graph of one step of the Scan: states, ids -> states."""
    body = _Writer(writer.source, writer)
    shapes = [(None, hidden) for hidden in size]
    states = ["body_state_%d" % i for i in range(len(size))]
    for i, name in enumerate(_advance(body, "body_ids", states)):
        body.output(name, "body_new_state_%d" % i)
    inputs = [body.info(name, "float32", shape) for name, shape in zip(states, shapes)]
    return body.onnx.helper.make_graph(
        body.nodes, "body", inputs + [body.info("body_ids", "int32", (None,))],
        [body.info("body_new_state_%d" % i, "float32", shape) for i, shape in enumerate(shapes)])


def _advance(writer, ids, states):
    """The states after one more id, as graph.step.advance; an id outside 0..I-1 changes nothing."""
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
    # the rows of the first layer's table are then the products with its input kernel already
    is_product = layer == 0 and model.embedding == "none"
    x_gates = x_candidate = None
    if is_product:
        x_gates, x_candidate = _split(writer, x, (2 * hidden, hidden))

    def product(part, x_part, state_name):
        kernel = writer.weight(scope + part + "/kernel")
        bias = writer.weight(scope + part + "/bias")
        if is_product:
            return op("Add", op("Add", x_part, op("MatMul", state_name, kernel)), bias)
        return op("Add", op("MatMul", op("Concat", x, state_name, axis=1), kernel), bias)

    r, u = _split(writer, op("Sigmoid", product("gates", x_gates, h)), (hidden, hidden))
    c = _activation(writer, product("candidate", x_candidate, op("Mul", r, h)))
    keep, take = u, op("Sub", writer.weight("one_float", np.float32(1)), u)
    if model.cell == "official":
        keep, take = take, keep
    return op("Add", op("Mul", keep, h), op("Mul", take, c))


def _split(writer, name, sizes):
    """A tensor cut along its columns into two of these widths."""
    return writer.ops("Split", 2, name,
                      writer.weight("split_%d_%d" % sizes, np.array(sizes, np.int64)), axis=1)


def _activation(writer, name):
    """The activation of the hidden units, as graph.activations.get."""
    model = writer.source.model
    if model.hidden_act == "elu":
        if not model.elu:
            return name
        return writer.op("Elu", name, alpha=model.elu)
    return writer.op({"tanh": "Tanh", "relu": "Relu"}[model.hidden_act], name)


def _scores(writer, states):
    """[B, I] raw scores of all items.

    With --score cosine the states are scaled to length 1 first, as by model.similarity.unit.
    """
    source, op, output = writer.source, writer.op, states[-1]
    if source.model.score == "cosine":
        squares = op("ReduceSum", op("Mul", output, output),
                     writer.weight("axis_1", np.array([1], np.int64)), keepdims=1)
        epsilon = writer.weight("epsilon", np.float32(similarity.EPSILON))
        length = op("Sqrt", op("Add", squares, epsilon))
        output = op("Div", output, length)
    return op("Gemm", output, writer.weight("output_rows", source.output_rows),
              writer.weight("bias", source.bias), transB=1)


def _best(writer, scores, k):
    """[item indices int32, their scores] of the k best; of equal scores the lower index first."""
    values, indices = writer.ops("TopK", 2, scores, writer.weight("k", np.array([k], np.int64)),
                                 axis=1)
    return [writer.op("Cast", indices, to=writer.onnx.TensorProto.INT32), values]
