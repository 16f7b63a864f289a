"""The inference graphs in TensorFlow: one step, and whole sessions (prefixes).

Weights are constants, and nothing of training is in the graphs. Ids are item indices. Any id
outside 0..I-1 stands for an item that the model does not know: it leaves the state as it is.
"""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.errors import InputError
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf

MAX_BYTES = 2 ** 31 - 2 ** 20  # protobuf's limit for a message, less 1 MiB for the nodes


class Weights(NamedTuple):
    """The weights as constants of a graph."""

    model: Any  # config.ModelConfig
    num_items: int
    dense: Tuple[Any, ...]  # order of model.state.dense_shapes
    embedding: Any  # [I, E]
    output_ih: Any  # [I, H], of model.state.output_rows
    bias_i: Any  # [I]


def constants(source):
    """Put the weights of an export.source.Source into the default graph -> Weights.

    Raises: InputError if a graph cannot hold them.
    """
    if source.num_bytes > MAX_BYTES:
        raise InputError("the weights take %.1f GiB, a TensorFlow graph holds at most 2 GiB; train "
                         "with a smaller --size or fewer items, or take --format onnx"
                         % (source.num_bytes / 2.0 ** 30))
    output_ih = tf.constant(source.output_rows, name="output_rows")
    if source.shares_table:
        embedding = output_ih
    else:
        embedding = tf.constant(source.input_rows, name="input_rows")
    dense = tuple(tf.constant(source.dense[name], name=name.replace("/", "_"))
                  for name in state.dense_shapes(source.model))
    return Weights(source.model, source.num_items, dense, embedding, output_ih,
                   tf.constant(source.bias, name="bias"))


def step(weights, id_b, states):
    """States [B, H] of each layer after one more id.

    Args: id_b: [B] int32. states: per layer [B, H].
    """
    row_b = tf.minimum(tf.maximum(id_b, 0), weights.num_items - 1)
    known_b1 = tf.expand_dims(tf.cast(tf.equal(row_b, id_b), tf.float32), 1)
    _, new = net.advance(weights.model, weights.dense, tf.gather(weights.embedding, row_b), states)
    return tuple(known_b1 * fresh + (1.0 - known_b1) * old for fresh, old in zip(new, states))


def unrolled(weights, ids_bt, length_b):
    """States after the first `length_b` ids of each row, as T steps: no loop, no op for shapes.

    Args: ids_bt: [B, T] int32, T static. length_b: [B] int32.
    """
    places = np.arange(ids_bt.shape.as_list()[1], dtype=np.int32)[None, :]
    inside_bt = tf.cast(tf.less(tf.constant(places), tf.expand_dims(length_b, 1)), tf.int32)
    ids_bt = (ids_bt + 1) * inside_bt - 1
    states = _zero_states(weights, length_b)
    for id_b in tf.unstack(ids_bt, axis=1):
        states = step(weights, id_b, states)
    return states


def looped(weights, ids_bt, length_b):
    """As `unrolled`, in a loop: T may be any number."""
    ids_tb = tf.transpose(ids_bt)

    def body(t, *states):
        id_b = tf.where(t < length_b, ids_tb[t], -tf.ones_like(length_b))
        return (t + 1,) + step(weights, id_b, states)

    end = tf.while_loop(lambda t, *_: t < tf.shape(ids_tb)[0], body,
                        (tf.constant(0),) + _zero_states(weights, length_b), back_prop=False)
    return end[1:]


def _zero_states(weights, length_b):
    """Zeros [B, H] for each layer, with the B of length_b, static or not."""
    zero_b1 = tf.cast(tf.expand_dims(length_b * 0, 1), tf.float32)
    return tuple(zero_b1 * tf.zeros([1, hidden]) for hidden in weights.model.size)


def scores(weights, states):
    """[B, I] raw scores of all items."""
    output_bh = net.score_vectors(weights.model, states[-1])
    return tf.matmul(output_bh, weights.output_ih, transpose_b=True) + weights.bias_i


def best(weights, scores_bi, k):
    """(item indices [B, k'] int32, their scores), best first, k' = min(k, I).

    Of equal scores the lower index comes first.
    """
    top = tf.nn.top_k(scores_bi, min(k, weights.num_items), name="top_k")
    return top.indices, top.values


def placeholders(signature):
    """A placeholder for each input of an export.signature.Signature, under its name."""
    return [tf.placeholder(t.dtype, t.shape, name=t.name) for t in signature.inputs]


def named(tensors, signature):
    """The tensors once more, under the names of the signature's outputs."""
    return [tf.identity(tensor, name=t.name) for tensor, t in zip(tensors, signature.outputs)]


def graph_def():
    """The GraphDef of the default graph, without devices.

    Attributes at their default are left out: another version of TensorFlow may not know them.
    """
    definition = tf.train.export_meta_graph(strip_default_attrs=True, clear_devices=True).graph_def
    for node in definition.node:
        node.attr.pop("_output_shapes", None)  # added by export_meta_graph; nobody needs it
    return definition
