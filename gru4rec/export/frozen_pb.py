"""--format frozen_pb: a GraphDef of one step and one of whole prefixes, and how atc compiles each
for an NPU.

The names of the step are those of the older port: `input`, `rnn_state` -> `logits`, which is a
softmax; the new state, which its graph did not give, is `new_state`.
"""

import os

from gru4rec.export import atc, graphs, signature
from gru4rec.tf_compat import tf


def write(directory, source, batch_sizes, max_length, k, soc_version):
    """Write `step/` and `prefix/`.

    Args:
      directory: exists. source: export.source.Source. batch_sizes: one for graphs of that B alone,
      several for graphs of
        any B of which atc compiles those. max_length: T of the prefix. k: items of a list.
        soc_version: for atc.
    Returns: dict name -> entry of the manifest.
    """
    batch = batch_sizes[0] if len(batch_sizes) == 1 else None
    entries = {}
    for name, build, expected in (
            (signature.STEP, _step,
             signature.of_step(source.model.size, source.num_items, batch, ids="input",
                                                      state="rnn_state", scores="logits")),
            (signature.PREFIX, _prefix,
             signature.of_prefix(source.num_items, batch, max_length, k))):
        folder = os.path.join(directory, name)
        os.mkdir(folder)
        with tf.Graph().as_default():
            build(graphs.constants(source), expected)
            content = graphs.graph_def().SerializeToString()
        with open(os.path.join(folder, name + ".pb"), "wb") as out:
            out.write(content)
        atc.write(folder, name, expected, batch_sizes, soc_version)
        entries[name] = dict(expected.to_dict(), file="%s/%s.pb" % (name, name),
                             batch_sizes=list(batch_sizes))
    return entries


def _step(weights, expected):
    id_b, *states = graphs.placeholders(expected)
    new = graphs.step(weights, id_b, states)
    tf.nn.softmax(graphs.scores(weights, new), name="logits")
    for tensor, out in zip(new, expected.outputs[1:]):
        tf.identity(tensor, name=out.name)


def _prefix(weights, expected):
    ids_bt, length_b = graphs.placeholders(expected)
    states = graphs.unrolled(weights, ids_bt, length_b)
    graphs.named(graphs.best(weights, graphs.scores(weights, states), expected.outputs[0].shape[1]),
                 expected)
