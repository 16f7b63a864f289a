"""When a run counts as diverged: the rule by itself, without TensorFlow."""

import json
import math

import numpy as np
import pytest

from gru4rec import config
from gru4rec.config import groups
from gru4rec.model import divergence
from gru4rec.model.divergence import FACTOR, WINDOW, Watch

CHANCE = 4.0
LIMIT = FACTOR * CHANCE


def first(losses, chance=CHANCE, **known):
    return Watch(chance, **known).first(np.asarray(losses, np.float32))


def by_formula(losses, chance):
    """0-based index of the first diverged loss by the closed form of the mean; None without one."""
    losses, keep = np.asarray(losses, np.float64), 1.0 - 1.0 / WINDOW
    means = [losses[0]]
    for s in range(1, len(losses)):
        weights = keep ** np.arange(s - 1, -1, -1) / WINDOW
        means.append(keep ** s * losses[0] + (weights * losses[1:s + 1]).sum())
        if means[s] > FACTOR * max(chance, min(means[:s])):
            return s
    return None


def rising(seed):
    random = np.random.RandomState(seed)
    steps = random.randint(2, 8 * WINDOW)
    trend = np.linspace(0, random.uniform(0, 12), steps)
    return CHANCE * np.exp(random.normal(0, 1, steps) + trend)


@pytest.mark.parametrize("seed", range(40))
def test_the_first_step_found_is_that_of_the_formula(seed):
    losses = rising(seed)
    expected = by_formula(losses, CHANCE)
    found = Watch(CHANCE).first(losses)
    assert (found and found.index) == expected
    assert found is None or found.loss == losses[expected]


def test_most_of_those_seeds_diverge_and_some_do_not():
    """Or the test above would compare None with None."""
    fine = [by_formula(rising(seed), CHANCE) is None for seed in range(40)]
    assert 5 < sum(fine) < 35


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_diverged_at_once(bad):
    assert first([bad]).index == 0 and first([3.0, 3.0, bad, 3.0]).index == 2
    assert first([3.0, bad]).why == ""


def test_one_absurd_step_is_enough_and_says_what_it_was_compared_with():
    found = first([4.0, 2.0, 1.8e32, 1.0])
    assert (found.index, found.loss) == (2, np.float32(1.8e32))
    assert found.why == (" and its running mean 1.8e+30, more than 1000 times the loss of chance "
                         "(4) and the best so far (3.98)")
    assert math.isnan(first([4.0, math.nan, 1.8e32]).loss)
    assert first([4.0, 1.8e32, math.nan]).loss > 1e32


def test_one_high_step_and_a_loss_that_stays_above_chance_are_none():
    assert first([4.0] + [0.9 * LIMIT * WINDOW] + [4.0] * 5000) is None
    assert first([4.0] + [1.1 * LIMIT * WINDOW] + [4.0] * 5000).index == 1
    assert first([4.0] + [0.9 * LIMIT] * 5000) is None
    assert WINDOW < first([4.0] + [1.1 * LIMIT] * 5000).index < 4 * WINDOW


def test_a_run_that_comes_back_in_time_goes_on():
    high = [4.0] + [10.0 * LIMIT] * (WINDOW // 20) + [3.0] * 5000
    assert first(high) is None
    assert first(high + [10.0 * LIMIT] * WINDOW).index > 5000


def test_a_run_that_began_high_is_compared_with_its_best():
    """Such as with a large --score_scale, --bpreg or --logq: chance alone would stop it."""
    assert first([100.0 * LIMIT] + [90.0 * LIMIT] * 5000) is None
    assert first([100.0 * LIMIT] * 500 + [200.0 * LIMIT * FACTOR] * WINDOW).index > 500
    falling = list(np.geomspace(100.0 * LIMIT, 1.0, 3000))
    assert first(falling) is None and first(falling + [200.0 * LIMIT] * WINDOW).index >= 3000


@pytest.mark.parametrize("cut", [1, 2, 57, 300, 512, 520])
def test_a_watch_that_goes_on_from_a_manifest_finds_the_same(cut):
    losses = np.concatenate([np.linspace(5, 2, 500), np.linspace(1.5 * LIMIT, 2 * LIMIT, 400)])
    losses = losses.astype(np.float32)
    whole, begun = Watch(CHANCE), Watch(CHANCE)
    expected = whole.first(losses)
    assert expected.index > 520 and begun.first(losses[:cut]) is None
    said = json.loads(json.dumps({"mean": begun.mean, "best": begun.best}))
    goes_on = Watch(CHANCE, **said)
    found = goes_on.first(losses[cut:])
    assert found == expected._replace(index=expected.index - cut)
    assert (goes_on.mean, goes_on.best) == (whole.mean, whole.best)


def test_a_manifest_of_an_older_version_begins_anew():
    watch = Watch(CHANCE, None, None)
    assert watch.first(np.full(3, 2.0)) is None and (watch.mean, watch.best) == (2.0, 2.0)


def of(num_items=1000, support=50, workers=1, **flags):
    made = config.from_flags({name: str(value) for name, value in flags.items()})
    return divergence.chance(made, num_items, support, workers)


def test_chance_of_each_loss():
    """tests/graph/test_losses.py compares them with the losses themselves."""
    assert of(batch_size=50) == of(batch_size=50, workers=8) == math.log(50)
    assert of(batch_size=50, n_sample=14, workers=8) == math.log(64)
    assert of(batch_size=50, n_sample=14, workers=8, global_negatives=1) == math.log(414)
    assert of(loss="full-cross-entropy") == math.log(1000)
    assert of(batch_size=50, logq=0.5) == math.log(50) + 0.5 * math.log(50)
    assert of(batch_size=50, logq=1, n_sample=14, sample_alpha=2) == math.log(64) + 2 * math.log(50)
    assert [of(loss=loss) for loss in ("bpr", "bpr-max")] == [math.log(2)] * 2
    assert [of(loss=loss) for loss in ("top1", "top1-max")] == [1.0] * 2
    assert of(num_items=1, loss="full-cross-entropy", support=0) == math.log(2)


def test_the_limit_of_a_loss_that_grows_with_the_square_of_the_scores_is_squared():
    limits = {loss: divergence.limit(config.from_flags({"loss": loss}))
              for loss in groups.FINAL_ACTS}
    assert limits.pop("bpr-max") == FACTOR ** 2 and set(limits.values()) == {FACTOR}
    assert first([4.0, 1.1 * LIMIT * WINDOW], limit=FACTOR ** 2) is None
    assert "more than 1e+06 times" in first([4.0, 1.1e6 * CHANCE * WINDOW], limit=FACTOR ** 2).why
