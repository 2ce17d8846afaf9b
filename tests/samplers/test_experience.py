"""What the default sampler knows before a search: what it expects, where from, and how far it follows that."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from autopeft.architecture import Architecture, Placement
from autopeft.pareto import cost_axis, hypervolume
from autopeft.samplers import experience
from autopeft.samplers.base import Setting
from autopeft.samplers.experience import FILE, NONE, Experience, shipped
from autopeft.samplers.features import Features
from autopeft.samplers.known_cost import KnownCost
from autopeft.samplers.surrogate import Surrogate, nothing_expected
from autopeft.space import load_space, space_names
from tests.samplers.test_known_cost import GEOMETRY, go, setting
from tests.space.making import bert, geometry_of

SIX, TWELVE = bert(num_hidden_layers=6), bert()
GEOMETRIES = {
    "bert": TWELVE,
    "llama": geometry_of("llama", hidden_size=256, num_hidden_layers=5, num_attention_heads=4, intermediate_size=512),
    "t5": geometry_of("t5"),
}


def drawn(space, count, seed=0):
    rng = random.Random(seed)
    return [space.sample(rng)[1] for _ in range(count)]


def features_of(geometry, architectures):
    features = Features(geometry)
    return np.array([features.of(architecture) for architecture in architectures])


def adapters(*layers, size=16):
    return Architecture(tuple(Placement("serial_adapter", "ffn", layer, size) for layer in layers))


def middling(architecture):
    """A made-up score: modules in the middle of the model are worth most, and parameters help a little."""
    worth = [1 - abs((p.layer + 0.5) / 6 - 0.5) * 2 for p in architecture.placements]
    return 0.5 + 0.3 * float(np.mean(worth)) + 0.01 * len(worth)


@pytest.fixture(scope="module")
def learned():
    """What 150 architectures of the space teach, on two tasks whose scores lie in different ranges."""
    space = load_space("autopeft", SIX)
    tasks = []
    for seed, (low, high) in enumerate(((0.2, 0.5), (0.6, 0.9))):
        architectures = drawn(space, 75, seed)
        scores = np.array([low + (high - low) * middling(architecture) for architecture in architectures])
        tasks.append((SIX, features_of(SIX, architectures), scores))
    return Experience.learn(tasks, ["two made-up tasks"])


def test_what_was_learned_ranks_architectures_that_were_not_there(learned):
    architectures = drawn(load_space("autopeft", SIX), 200, seed=9)
    told = learned.expect(SIX, features_of(SIX, architectures))
    assert kendalltau(told, [middling(a) for a in architectures]).statistic > 0.8


def test_a_layer_of_a_deeper_model_counts_by_its_depth(learned):
    pairs = [((0,), (0, 1)), ((2,), (4, 5)), ((5,), (10, 11))]
    shallow, deep = (
        learned.expect(geometry, features_of(geometry, [adapters(*pair[index]) for pair in pairs]))
        for index, geometry in enumerate((SIX, TWELVE))
    )
    assert np.argmax(shallow) == np.argmax(deep) == 1


@pytest.mark.parametrize(("layers", "parts"), [(6, 6), (12, 6), (4, 6), (5, 6), (1, 6), (96, 6)])
def test_parts_of_the_depth_are_shared_out_wholly(layers, parts):
    overlaps = experience._overlaps(layers, parts)
    assert overlaps.shape == (layers, parts)
    assert overlaps.sum(axis=0) == pytest.approx(np.ones(parts)) and (overlaps >= 0).all()
    assert overlaps.sum(axis=1) == pytest.approx(np.full(layers, parts / layers))


def test_without_experience_nothing_is_expected():
    assert NONE.expect(SIX, features_of(SIX, [adapters(0), adapters(1, 2)])).tolist() == [0.0, 0.0]


def test_it_is_written_and_read_back(learned):
    x = features_of(SIX, drawn(load_space("autopeft", SIX), 50))
    read = Experience.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert read.evidence == ("two made-up tasks",)
    assert read.expect(SIX, x) == pytest.approx(learned.expect(SIX, x), abs=0.01)


# -- what ships


def test_what_ships_says_what_it_was_learned_from():
    assert json.loads(FILE.read_text())["evidence"] == list(shipped().evidence) != []


@pytest.mark.parametrize("family", GEOMETRIES)
@pytest.mark.parametrize("name", space_names())
def test_what_ships_expects_something_bounded_of_every_space_on_every_family(name, family):
    geometry = GEOMETRIES[family]
    architectures = drawn(load_space(name, geometry, 10_000_000), 20)
    told = shipped().expect(geometry, features_of(geometry, architectures))
    assert np.isfinite(told).all() and (np.abs(told) <= shipped().most).all()


def test_what_ships_knows_that_the_last_layer_alone_is_a_bad_place():
    told = shipped().expect(SIX, features_of(SIX, [adapters(layer) for layer in range(6)]))
    assert np.argmin(told) == 5


# -- what is made of it


def rows(count, seed=0):
    return np.random.default_rng(seed).random((count, 3))


def first_column(x):
    return 3 * x[:, 0] - 1.5


def test_with_few_observations_the_expectation_is_followed():
    x, there = rows(4), rows(100, seed=1)
    ranks = []
    for expected in (first_column, nothing_expected):
        model = Surrogate.fit(x, first_column(x), np.zeros(4), expected)
        ranks.append(kendalltau(model.predict(there)[0], first_column(there)).statistic)
    assert ranks[0] > 0.8 and ranks[0] > ranks[1] + 0.2


def test_an_expectation_that_turns_out_wrong_is_given_up():
    x, there = rows(60), rows(200, seed=1)
    wrong = Surrogate.fit(x, first_column(x), np.zeros(60), lambda x: -first_column(x))
    right = Surrogate.fit(x, first_column(x), np.zeros(60), first_column)
    assert wrong.trust < 0.2 < 0.5 < right.trust
    assert kendalltau(wrong.predict(there)[0], first_column(there)).statistic > 0.95


def test_what_is_believed_leaves_the_mean_where_something_is_expected():
    x = rows(10)
    model = Surrogate.fit(x, first_column(x) ** 2, np.zeros(10), first_column)
    believing = model.believe(rows(3, seed=2))
    there = rows(50, seed=3)
    assert believing._rest(there)[0] == pytest.approx(model._rest(there)[0], abs=1e-6)


def test_a_search_begins_better_with_experience_and_goes_on(learned):
    space = load_space("autopeft", SIX)

    def reached(known):
        found = []
        for seed in range(4):
            fresh = Setting(space, seed, lambda a: (a, space.params(a)), experience=known)
            _, trials = go(KnownCost(fresh), 8, middling)
            found.append(hypervolume([(cost_axis(t.params), t.score) for t in trials], (8.0, 0.5)))
        return float(np.mean(found))

    assert reached(learned) > reached(NONE)


def test_a_search_whose_experience_is_wrong_ends_where_one_without_it_does(learned):
    space = load_space("autopeft", GEOMETRY, 1_000_000)
    wrong = replace(learned, level=-learned.level, linear=-learned.linear, square=-learned.square)

    def reached(known):
        _, trials = go(KnownCost(setting(space, experience=known)), 40, middling)
        return hypervolume([(cost_axis(t.params), t.score) for t in trials], (6.0, 0.5))

    assert reached(wrong) > 0.97 * reached(NONE)
