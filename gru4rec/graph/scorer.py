"""Inference in the graph: hidden states of a chunk of test steps, then the ranks of targets, a tile at a time."""

from typing import Any, NamedTuple

from gru4rec.graph import model as net
from gru4rec.tf_compat import tf


class Counts(NamedTuple):
    """Per target, over all items; ranks under every tie rule follow (metrics.ranks_from_counts)."""

    greater_n: Any  # [n] int32 items with a higher score
    greater_equal_n: Any  # [n] int32 items with at least that score, the target included
    largest_n: Any  # [n] float, largest absolute hidden unit: bounds every score, NaN if the state is not finite
    top_nk: Any = None  # [n, k] int32 best items, best first, the lower index first among equals; None if not asked for


def hidden_states(model, dense, embedding, x_kb, reset_kb, states):
    """Run K test steps without dropout.

    Args:
      dense: weights, order of `engine.state.dense_shapes`. embedding: [I, E].
      x_kb: [K, B] int32, -1 where a lane has no input and keeps its state.
      reset_kb: [K, B] bool. states: per layer [B, H], before the first reset.
    Returns: ([K, B, H] float outputs of the last layer, tuple of states after step K).
    """
    k, lanes = x_kb.shape.as_list()
    width = model.size[-1]
    outputs = tf.TensorArray(tf.float32, size=k, element_shape=[lanes, width])

    def body(i, outputs, *states):
        states = net.zero_where(reset_kb[i], states)
        skip_b1 = tf.cast(x_kb[i] < 0, tf.float32)[:, None]
        _, new = net.advance(model, dense, tf.gather(embedding, tf.maximum(x_kb[i], 0)), states)
        kept = [skip_b1 * old + (1.0 - skip_b1) * fresh for old, fresh in zip(states, new)]
        return [i + 1, outputs.write(i, kept[-1])] + kept

    end = tf.while_loop(lambda i, *_: i < k, body, [tf.constant(0), outputs] + list(states), parallel_iterations=1,
                        back_prop=False)
    return end[1].stack(), tuple(end[2:])


def rank_counts(hidden_nh, target_n, rows_id, top=0):
    """Counts of n targets against the whole catalogue.

    All rows are scored by one product and the target's score is read from that same product, so no rounding can put
    a target behind itself. Memory: 4 * n * I bytes of scores.

    Args:
      hidden_nh: [n, H] float. target_n: [n] int32. rows_id: [I, H + 1] float, bias last.
      top: length of the recommended lists; 0 leaves them, and the pass over the scores they cost, out of the graph.
    Returns: Counts.
    """
    n, num_items = target_n.shape.as_list()[0], rows_id.shape.as_list()[0]
    scores_ni = net.output_scores(hidden_nh, rows_id)
    target_n1 = tf.gather(tf.reshape(scores_ni, [-1]), tf.range(n) * num_items + target_n)[:, None]
    return Counts(tf.reduce_sum(tf.cast(scores_ni > target_n1, tf.int32), 1),
                  tf.reduce_sum(tf.cast(scores_ni >= target_n1, tf.int32), 1),
                  tf.reduce_max(tf.abs(hidden_nh), 1),
                  tf.nn.top_k(scores_ni, min(top, num_items)).indices if top else None)
