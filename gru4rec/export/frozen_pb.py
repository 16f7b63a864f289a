"""--format frozen_pb: a GraphDef of one step and one of whole sessions, each with a script for atc.

The names in the step graph are those of the older TensorFlow 1 port: `input`, `rnn_state` ->
`logits`, which is a softmax. The new state, which that port's graph did not give, is `new_state`.
"""

import os

from gru4rec.export import atc, graphs, signature
from gru4rec.tf_compat import tf


def write(directory, source, batch_sizes, max_length, k, soc_version):
    """Write `step/` and `prefix/`.

    Args:
      directory: exists. source: export.source.Source.
      batch_sizes: sessions of a call; with one the graphs take this number alone, with several any
        number, and atc compiles them for these.
      max_length: most items of a session (T of the prefix graph). k: items of a list.
      soc_version: chip for atc.
    Returns: dict name -> entry of the manifest.
    """
    batch = batch_sizes[0] if len(batch_sizes) == 1 else None
    step = signature.of_step(source.model.size, source.num_items, batch, ids="input",
                             state="rnn_state", scores="logits")
    prefix = signature.of_prefix(source.num_items, batch, max_length, k)
    entries = {}
    for name, build, expected in ((signature.STEP, _step, step),
                                  (signature.PREFIX, _prefix, prefix)):
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
