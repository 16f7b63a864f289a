"""Inference in the graph: hidden states of test steps, and the counts from which ranks follow."""

from typing import Any, NamedTuple

from gru4rec.graph import step as net
from gru4rec.tf_compat import tf

# so many rows of comparisons are added first; below 256, so that the sum fits in a byte
BLOCK = 32


class Counts(NamedTuple):
    """Per target, counts over all items, of which `evaluation.metrics` makes ranks."""

    greater_n: Any  # [n] int32 items with a higher score
    greater_equal_n: Any  # [n] int32 items with at least that score, the target included
    # [n] float, largest absolute hidden unit: bounds every score, NaN if the state is not finite
    largest_n: Any
    # [n, k] int32 best items, best first, of equal ones the lower index first; None if not wanted
    top_nk: Any = None


def hidden_states(model, dense, embedding, x_kb, reset_kb, states):
    """Run K test steps without dropout.

    Args:
      dense: weights, order of `model.state.dense_shapes`. embedding: [I, E].
      x_kb: [K, B] int32, -1 where a lane has no input and keeps its state.
      reset_kb: [K, B] bool. states: per layer [B, H], before the first reset.
    Returns: ([K, B, H] float outputs of the last layer as they enter a score, tuple of states after
      step K).
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

    end = tf.while_loop(lambda i, *_: i < k, body, [tf.constant(0), outputs] + list(states),
                        parallel_iterations=1, back_prop=False)
    return net.score_vectors(model, end[1].stack()), tuple(end[2:])


def rank_counts(hidden_nh, target_n, rows_id, top=0, compiled=False):
    """Counts of n targets against the whole catalogue.

    All rows are scored by one product, the bias as its last term, and the target's score is read
    from that same product, so no rounding can put a target behind itself. Memory: 4 * n * I bytes
    of scores, and a quarter of it for comparisons.

    Args:
      hidden_nh: [n, H] float. target_n: [n] int32. rows_id: [I, H + 1] float, bias last.
      top: length of the recommended lists; 0 leaves them, and the pass over the scores they cost,
        out of the graph.
      compiled: whether XLA compiles this; counts are the same.
    Returns: Counts.
    """
    n, num_items = target_n.shape.as_list()[0], rows_id.shape.as_list()[0]
    # Items down, targets across: the faster product, and counting adds whole rows.
    scores_in = tf.matmul(rows_id, tf.concat([hidden_nh, tf.ones([n, 1])], 1), transpose_b=True)
    of_target_n = tf.gather_nd(scores_in, tf.stack([target_n, tf.range(n)], 1))
    counts = Counts(_count(lambda part: part > of_target_n, scores_in, compiled),
                    _count(lambda part: part >= of_target_n, scores_in, compiled),
                    tf.reduce_max(tf.abs(hidden_nh), 1))
    if not top:
        return counts
    best = tf.nn.top_k(tf.transpose(scores_in), min(top, num_items))
    return counts._replace(top_nk=best.indices)


def _count(holds, scores_in, compiled):
    """[n] int32 per column: in how many of the I rows `holds` is true.

    Sums of BLOCK rows come first. Compiled, they are explicit additions, which XLA makes one pass
    over the scores with nothing in between written to memory. Otherwise they are sums of bytes,
    because there the time goes by the bytes that are moved.

    Args:
      holds: function of rows of scores [..., n] -> bool [..., n]. scores_in: [I, n] float.
    """
    num_items, n = scores_in.shape.as_list()
    blocks = num_items // BLOCK
    block_bkn = tf.reshape(scores_in[:blocks * BLOCK], [blocks, BLOCK, n])
    if compiled:
        sums_bn = sum(tf.cast(holds(block_bkn[:, i]), tf.int32) for i in range(BLOCK))
    else:
        sums_bn = tf.cast(tf.reduce_sum(tf.cast(holds(block_bkn), tf.uint8), 1), tf.int32)
    rest_rn = tf.cast(holds(scores_in[blocks * BLOCK:]), tf.int32)
    return tf.reduce_sum(sums_bn, 0) + tf.reduce_sum(rest_rn, 0)
