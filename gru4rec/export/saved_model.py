"""--format saved_model: one SavedModel, in the directory `1` that TensorFlow Serving looks for.

Signatures, for any number of sessions of any length:
    step      ids, states -> scores of all items, the k best, new states
    step_top  the same without the scores of all items, which are much to send
    prefix    padded ids, lengths -> the k best; also the default signature

The vocabulary is an asset.
"""

import os

from gru4rec.export import graphs, signature
from gru4rec.export.directory import VOCABULARY
from gru4rec.tf_compat import tf

VERSION = "1"  # the directory that Serving looks for
STEP_TOP = "step_top"
DEFAULT = "serving_default"


def write(directory, source, k):
    """Write `1/`; the vocabulary, which is in `directory` already, becomes its asset.

    Args:
      directory: exists. source: export.source.Source. k: items of a list.
    Returns: dict name -> entry of the manifest.
    Raises: OSError if the disk refuses.
    """
    step = signature.of_step(source.model.size, source.num_items, None, k)
    step_top = step._replace(outputs=tuple(t for t in step.outputs if t.role != signature.SCORES))
    prefix = signature.of_prefix(source.num_items, None, None, k)
    on_cpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=on_cpu) as session:
        weights = graphs.constants(source)
        of_step, of_prefix = _step(weights, step), _prefix(weights, prefix)
        definitions = {signature.STEP: _definition(step, *of_step),
                       STEP_TOP: _definition(step_top, *of_step),
                       signature.PREFIX: _definition(prefix, *of_prefix),
                       DEFAULT: _definition(prefix, *of_prefix)}
        vocabulary = tf.constant(os.path.join(directory, VOCABULARY), name="vocabulary")
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, vocabulary)
        place = os.path.join(directory, VERSION)
        try:
            builder = tf.saved_model.Builder(place)
            builder.add_meta_graph_and_variables(session, [tf.saved_model.tag_constants.SERVING],
                                                 definitions, assets_collection=[vocabulary],
                                                 strip_default_attrs=True)
            builder.save()
        except tf.errors.OpError as error:
            raise OSError(str(error).splitlines()[0]) from error
    variables = os.path.join(place, "variables")
    if os.path.isdir(variables) and not os.listdir(variables):
        os.rmdir(variables)
    signatures = ((signature.STEP, step), (STEP_TOP, step_top), (signature.PREFIX, prefix))
    return {name: dict(expected.to_dict(), file=VERSION, signature=name)
            for name, expected in signatures}


def _step(weights, expected):
    """(input tensors, output tensors by name)."""
    with tf.name_scope("step"):
        inputs = graphs.placeholders(expected)
        new = graphs.step(weights, inputs[0], inputs[1:])
        scores_bi = graphs.scores(weights, new)
        top = graphs.best(weights, scores_bi, expected.outputs[1].shape[1])
        return inputs, _by_name((scores_bi,) + tuple(top) + new, expected)


def _prefix(weights, expected):
    """(input tensors, output tensors by name)."""
    with tf.name_scope("prefix"):
        inputs = graphs.placeholders(expected)
        scores_bi = graphs.scores(weights, graphs.looped(weights, *inputs))
        return inputs, _by_name(graphs.best(weights, scores_bi, expected.outputs[0].shape[1]),
                                expected)


def _by_name(outputs, expected):
    """Name of an output -> its tensor."""
    return dict(zip([t.name for t in expected.outputs], graphs.named(outputs, expected)))


def _definition(expected, inputs, outputs):
    build = tf.saved_model.build_tensor_info
    return tf.saved_model.build_signature_def(
        {t.name: build(tensor) for t, tensor in zip(expected.inputs, inputs)},
        {t.name: build(outputs[t.name]) for t in expected.outputs},
        tf.saved_model.PREDICT_METHOD_NAME)
