"""The default sampler: what it proposes, what it learns from, and what its model sees."""

import gc
import math
import random
import statistics
import weakref
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from autopeft.architecture import Architecture, Placement
from autopeft.baselines import baselines
from autopeft.errors import NoFeasibleArchitecture
from autopeft.extrapolation import Extrapolation
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.pareto import cost_axis, hypervolume
from autopeft.samplers import SAMPLERS, pool
from autopeft.samplers.base import Setting
from autopeft.samplers.experience import NONE
from autopeft.samplers.features import Features
from autopeft.samplers.known_cost import CLOSE, SPREAD, KnownCost, _observe
from autopeft.samplers.pool import Counted, Pool
from autopeft.samplers.surrogate import Surrogate
from autopeft.space import load_space, space_names
from autopeft.space.schema import Training
from autopeft.trial import Trial
from autopeft.warp import Warp
from tests.space.making import bert, small_bert, space_of

GEOMETRY = bert(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128)
BASE = 1_000_000
STEPS = 90
WORTH = {"serial_adapter": 1.0, "parallel_adapter": 1.6, "prefix": 0.4}
LORA = {"lora": {"sites": ["attention.query"], "size": [16, 4, 1]}}


def admit_up_to(cap=math.inf, geometry=GEOMETRY):
    def admit(architecture):
        normal = normalise(architecture, geometry)
        params = count_parameters(normal, geometry)
        return (normal, params) if params <= cap else None

    return admit


@pytest.fixture(scope="module")
def space():
    return load_space("autopeft", GEOMETRY, BASE)


def smooth(architecture):
    """A made-up score: deep layers and large modules help, and less and less."""
    helped = sum((0.5 + p.layer) * math.log1p(p.size) * WORTH.get(p.module, 1.0) for p in architecture.placements)
    return 0.9 - 0.5 / (1 + helped / 8)


def trial_of(proposal, number, state="complete", score=None, curve=()):
    reason = None if state in ("complete", "running") else "diverged" if state == "failed" else "pruned"
    return Trial(
        number, "", proposal.architecture, proposal.params, score, state, reason, 1.0, 1, steps=STEPS, curve=curve
    )


def finish(proposal, number, score=smooth):
    return trial_of(proposal, number, score=score(proposal.architecture))


def go(chooser, count, score=smooth, start=0, finished=finish):
    """Ask, run and answer so many times; return the proposals and the trials."""
    proposals, trials = [], []
    for number in range(start, start + count):
        proposal = chooser.propose()
        if proposal is None:
            break
        chooser.see(trial_of(proposal, number, "running"), proposal.token)
        trials.append(finished(proposal, number, score))
        chooser.see(trials[-1], proposal.token)
        proposals.append(proposal)
    return proposals, trials


def setting(space, seed=0, cap=None, **more):
    return Setting(space, seed, admit_up_to(math.inf if cap is None else cap, space.geometry), cap=cap, **more)


def fingerprints(proposals):
    return [proposal.architecture.fingerprint for proposal in proposals]


def area(trials):
    return hypervolume([(cost_axis(t.params), t.score) for t in trials], (6.0, 0.4))


# -- what is proposed


def test_it_is_a_sampler_that_spreads_its_first_points():
    found = SAMPLERS.get("known_cost")
    assert found.choose is KnownCost and found.spread == SPREAD and not found.needs_scores


def test_a_first_point_is_among_the_most_promising_that_are_counted_near_its_place(space):
    chooser = KnownCost(setting(space))
    while not chooser._pool.complete:
        chooser._pool.go_on()
    table = chooser._pool.candidates(())
    for index, proposal in enumerate(go(chooser, SPREAD)[0]):
        near = np.abs(table.costs - chooser._first.place(index)) <= CLOSE
        expected = chooser._expect(chooser._features.of_all([proposal.architecture]))
        assert np.mean([*(chooser._expect(table.x[near]) > expected), False]) < 0.05


@pytest.mark.parametrize("cap", [None, 5000])
def test_every_point_is_new_and_admitted_and_decodes_to_its_architecture(space, cap):
    proposals, _ = go(KnownCost(setting(space, cap=cap)), SPREAD + 5)
    assert len(set(fingerprints(proposals))) == len(proposals) == SPREAD + 5
    for proposal in proposals:
        assert space.decode(proposal.point) == proposal.architecture
        assert proposal.params == count_parameters(proposal.architecture, GEOMETRY) <= (cap or math.inf)


def test_points_that_the_caller_refuses_are_not_proposed(space):
    plain = admit_up_to()
    picky = replace(setting(space), admit=lambda a: plain(a) if "prefix" not in a.module_types else None)
    proposals, _ = go(KnownCost(picky), SPREAD + 4)
    assert len(proposals) == SPREAD + 4
    assert not any("prefix" in proposal.architecture.module_types for proposal in proposals)


@pytest.mark.parametrize("layers", [{}, {"layers": "mask"}])
def test_a_space_is_exhausted_and_then_there_is_nothing_more(layers):
    small = space_of(LORA, small_bert(3), **layers)
    every = {a.fingerprint for a in map(small.decode, small.points()) if a is not None}
    chooser = KnownCost(setting(small))
    proposals, _ = go(chooser, 100, lambda a: 0.5 + 0.01 * len(a.layers) + 0.001 * a.placements[0].size)
    assert set(fingerprints(proposals)) == every and len(proposals) == len(every) == (21 if layers else 3)
    assert chooser.propose() is None


def test_a_capped_space_is_exhausted_within_its_cap():
    small = space_of(LORA, small_bert(3), layers="mask")
    cap = 2 * 64 * 4
    proposals, _ = go(KnownCost(setting(small, cap=cap)), 100)
    wanted = {a.fingerprint for a in map(small.decode, small.points()) if a is not None and small.params(a) <= cap}
    assert set(fingerprints(proposals)) == wanted and 0 < len(wanted) < 21


def test_nothing_within_the_cap_is_an_error(space):
    with pytest.raises(NoFeasibleArchitecture, match="meets the caps"):
        KnownCost(setting(space, cap=1)).propose()


def test_scores_that_are_all_equal_are_no_trouble(space):
    proposals, _ = go(KnownCost(setting(space)), SPREAD + 4, lambda _: 0.5)
    assert len(set(fingerprints(proposals))) == SPREAD + 4


def test_a_search_in_which_everything_fails_goes_on(space):
    def fail(proposal, number, score):
        return trial_of(proposal, number, "failed")

    proposals, _ = go(KnownCost(setting(space)), SPREAD + 4, finished=fail)
    assert len(set(fingerprints(proposals))) == SPREAD + 4


def test_the_same_seed_proposes_the_same_and_another_does_not(space):
    first, again, other = (fingerprints(go(KnownCost(setting(space, seed)), SPREAD + 2)[0]) for seed in (3, 3, 4))
    assert first == again != other


def test_a_resumed_search_proposes_nothing_that_is_there_and_spreads_no_more(space):
    proposals, trials = go(KnownCost(setting(space)), SPREAD + 2)
    past = [(trial, proposal.point) for trial, proposal in zip(trials, proposals, strict=True)]
    resumed = [go(KnownCost(setting(space, past=past)), 3, start=len(past))[0] for _ in range(2)]
    assert fingerprints(resumed[0]) == fingerprints(resumed[1])
    assert not {*fingerprints(proposals)} & {*fingerprints(resumed[0])} and len(resumed[0]) == 3
    # The model has a say from the first: what it proposes depends on the scores that are there.
    other = [(replace(trial, score=1 - trial.score), point) for trial, point in past]
    turned = go(KnownCost(setting(space, past=other)), 3, start=len(past))[0]
    assert fingerprints(turned) != fingerprints(resumed[0])


def test_a_past_of_few_points_leaves_the_rest_of_the_spread_to_do(space):
    proposals, trials = go(KnownCost(setting(space)), 4)
    past = [(trial, proposal.point) for trial, proposal in zip(trials, proposals, strict=True)]
    more, turned = (
        go(KnownCost(setting(space, past=past)), SPREAD - 4, score)[0] for score in (smooth, lambda a: 1 - smooth(a))
    )
    assert fingerprints(more) == fingerprints(turned), "the first points do not depend on scores"
    costs = [cost_axis(p.params) for p in (*proposals, *more)]
    wide = max(costs) - min(costs)
    assert {int(3.999 * (cost - min(costs)) / wide) for cost in costs} == {0, 1, 2, 3}


def test_baselines_teach_and_are_not_proposed_again_but_are_no_points_of_the_spread(space):
    chooser = KnownCost(setting(space))
    best = space.sample(random.Random(1))[1]
    known = {a.fingerprint: a for a in (best, *baselines(GEOMETRY).values())}
    for number, architecture in enumerate(known.values()):
        params = count_parameters(architecture, GEOMETRY)
        chooser.see(Trial(number, "by hand", architecture, params, 0.5 + number / 50, "complete", None, 1.0, 1), None)
    proposals, _ = go(chooser, SPREAD + 3, start=len(known))
    assert not {*fingerprints(proposals)} & {*known}
    plain = go(KnownCost(setting(space)), SPREAD)[0]
    assert fingerprints(proposals[:SPREAD]) == fingerprints(plain)
    assert fingerprints(proposals[SPREAD:]) != fingerprints(go(KnownCost(setting(space)), SPREAD + 3)[0][SPREAD:])


def test_asks_without_answers_in_between_give_different_points(space):
    chooser = KnownCost(setting(space))
    go(chooser, SPREAD)
    asked = []
    for number in range(6):
        asked.append(chooser.propose())
        chooser.see(trial_of(asked[-1], SPREAD + number, "running"), asked[-1].token)
    assert len(set(fingerprints(asked))) == 6
    assert len({proposal.params for proposal in asked}) >= 4, "what runs is taken for known: it is not asked around it"


def test_the_model_believes_in_what_runs_and_in_nothing_else(space, monkeypatch):
    believed, believe = [], Surrogate.believe
    monkeypatch.setattr(Surrogate, "believe", lambda model, x: (believed.append(x.tolist()), believe(model, x))[1])
    chooser = KnownCost(setting(space))
    go(chooser, SPREAD)
    running = []
    for number, state in enumerate(["running", "failed", "running", "complete"], SPREAD):
        proposal = chooser.propose()
        assert believed[-1] == [Features(GEOMETRY).of(architecture) for architecture in running]
        chooser.see(trial_of(proposal, number, state, 0.5 if state == "complete" else None), None)
        running += [proposal.architecture] if state == "running" else []
    chooser.propose()
    assert len(believed) == 5 and len(believed[-1]) == len(running) == 2


def test_a_space_too_large_to_count_through_works():
    large = load_space("layerwise", GEOMETRY, BASE)
    assert large.cardinality > pool.MOST
    _, trials = go(KnownCost(setting(large)), SPREAD + 3)
    assert len({t.architecture.fingerprint for t in trials}) == SPREAD + 3
    assert area(trials) > area(trials[:SPREAD])


def test_a_space_with_real_numbers_works():
    real = load_space("lora", GEOMETRY, BASE)
    assert real.cardinality == math.inf
    proposals, _ = go(KnownCost(setting(real, cap=3000)), SPREAD + 4)
    assert len(set(fingerprints(proposals))) == SPREAD + 4 and all(p.params <= 3000 for p in proposals)


def test_samples_do_for_a_space_as_well_as_counting(monkeypatch):
    monkeypatch.setattr(pool, "MOST", 10)
    sampled = load_space("autopeft", GEOMETRY, BASE)
    _, trials = go(KnownCost(setting(sampled)), SPREAD + 4)
    assert not Pool(sampled, Features(GEOMETRY), random.Random(0))._counted
    assert area(trials) > area(trials[:SPREAD]) + 0.01


def areas_at_random(space, seed, count):
    found = []
    for other in range(10):
        rng = random.Random(100 * seed + other)
        drawn = [admit_up_to()(space.sample(rng)[1]) for _ in range(count)]
        found.append(hypervolume([(cost_axis(params), smooth(a)) for a, params in drawn], (6.0, 0.4)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_a_better_front_than_random_search_and_than_its_own_spread(space, seed):
    count = SPREAD + 10
    without = setting(space, seed, experience=NONE)
    _, trials = go(KnownCost(without), count)
    assert area(trials) > max(areas_at_random(space, seed, count))
    spread = KnownCost(without)
    _, first = go(spread, SPREAD)
    more = [finish(proposal, 0) for proposal in map(spread._spread, range(SPREAD, count)) if proposal is not None]
    assert area(trials) > area([*first, *more])


@pytest.mark.parametrize("seed", range(3))
def test_experience_that_misleads_is_overcome(space, seed):
    # On no recorded task did the deepest layers alone help most, as the made-up score has it.
    count = SPREAD + 10
    _, trials = go(KnownCost(setting(space, seed)), count)
    assert area(trials) > statistics.fmean(areas_at_random(space, seed, count))


# -- what is learned from


def done(early, final, params=1000, architecture=None):
    curve = ((10, early - 0.1), (30, early), (STEPS, final))
    return Trial(
        0, "", architecture or Architecture(), params, final, "complete", None, 1, 1, steps=STEPS, curve=curve
    )


def stopped(early, params=1000, place=30, steps=STEPS):
    curve = ((place, early),)
    return Trial(0, "", Architecture(), params, None, "pruned", "pruned", 1.0, 1, steps=steps, curve=curve)


COMPLETE = [done(0.4 + i / 20, 0.5 + i / 20 + (i % 2) / 50, 10 ** (2 + i % 3)) for i in range(8)]


def test_a_finished_trial_says_its_score_without_doubt():
    assert [(one.score, one.doubt) for one in _observe(COMPLETE)] == [(t.score, 0.0) for t in COMPLETE]


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_failed_or_running_trial_says_nothing(state):
    other = Trial(0, "", Architecture(), 1000, None, state, None, 1.0, 1, steps=STEPS, curve=((30, 0.5),))
    assert [one.trial for one in _observe([*COMPLETE, other])] == COMPLETE


def test_a_stopped_trial_says_what_it_would_have_come_to_with_doubt():
    one = stopped(0.45, 5000)
    *_, seen = _observe([*COMPLETE, one])
    learned = Extrapolation.fit(COMPLETE, 1 / 3)
    assert seen.trial is one and (seen.score, seen.doubt) == learned.final(0.45, cost_axis(5000))
    assert seen.score > 0.45 and seen.doubt > 0


def test_stopped_trials_are_read_at_their_own_rungs():
    early, late, short = stopped(0.35, place=10), stopped(0.45), stopped(0.45, place=20, steps=60)
    seen = {id(one.trial): one for one in _observe([*COMPLETE, early, late, short])}
    assert len(seen) == len(COMPLETE) + 3
    assert seen[id(early)].score == Extrapolation.fit(COMPLETE, 1 / 9).final(0.35, cost_axis(1000))[0]
    assert (
        seen[id(late)].score
        == seen[id(short)].score
        == Extrapolation.fit(COMPLETE, 1 / 3).final(0.45, cost_axis(1000))[0]
    )


def test_a_stopped_trial_says_nothing_before_anything_is_learned_of_its_rung():
    one, two, three = stopped(0.45), stopped(0.45, place=45), replace(stopped(0.45), curve=())
    assert [seen.trial for seen in _observe([*COMPLETE[:5], one])] == COMPLETE[:5]
    assert [seen.trial for seen in _observe([*COMPLETE, two, three])] == COMPLETE


def test_stopped_trials_are_not_proposed_again_and_teach(space):
    def stop(proposal, number, score):
        final = score(proposal.architecture)
        if number % 3 == 2:
            return trial_of(proposal, number, "pruned", curve=((30, final - 0.1),))
        return trial_of(proposal, number, score=final, curve=((30, final - 0.1), (STEPS, final)))

    def lose(proposal, number, score):
        return stop(proposal, number, score) if number % 3 != 2 else trial_of(proposal, number, "failed")

    found = [go(KnownCost(setting(space)), SPREAD + 3, finished=how)[0] for how in (stop, lose)]
    assert [len(set(fingerprints(proposals))) for proposals in found] == [SPREAD + 3] * 2
    assert fingerprints(found[0])[SPREAD:] != fingerprints(found[1])[SPREAD:]


# -- what the model sees


@pytest.mark.parametrize("name", space_names())
def test_every_feature_has_a_name_and_is_about_one(name):
    features = Features(GEOMETRY)
    assert len(set(features.names)) == len(features.names)
    rng, shipped = random.Random(0), load_space(name, GEOMETRY, BASE)
    architectures = [shipped.sample(rng)[1] for _ in range(20)]
    rows = features.of_all(architectures).tolist()
    assert rows == [Features(GEOMETRY).of(architecture) for architecture in architectures]
    for architecture, row in zip(architectures, rows, strict=True):
        assert len(row) == len(features.names) and all(0 <= value < 1.3 for value in row)
        found = dict(zip(features.names, row, strict=True))
        assert found["params"] == pytest.approx(cost_axis(shipped.params(architecture)) / 8)
        assert found["layers"] == len(architecture.layers) / GEOMETRY.layers
        for module in architecture.module_types:
            mine = [p for p in architecture.placements if p.module == module]
            assert found[f"{module} on"] == 1
            assert found[f"{module} size"] == pytest.approx(np.log2(1 + np.mean([p.size for p in mine])) / 10)
            depth = (np.mean([p.layer for p in mine]) + 0.5) / GEOMETRY.layers
            assert found[f"{module} depth"] == pytest.approx(depth)


def test_equal_architectures_of_different_spaces_have_equal_features():
    sizes, sites = [1, 4, 16], ["attention.query", "attention.value"]
    narrow = space_of({"lora": {"sites": sites, "size": sizes}}, GEOMETRY, layers="mask")
    wide = space_of(
        {
            "a": {"type": "lora", "sites": sites[:1], "size": [*sizes, 2], "options": {"gate": [False, True]}},
            "b": {"type": "lora", "sites": sites[1:], "size": sizes},
        },
        GEOMETRY,
        layers="mask",
    )
    one, other = ({}, {})
    for found, made in ((one, narrow), (other, wide)):
        features = Features(made.geometry)
        for point in made.points():
            architecture = made.decode(point)
            if architecture is not None:
                found[architecture.fingerprint] = features.of(architecture)
    shared = one.keys() & other.keys()
    assert len(shared) == 3 * 15 < len(other) and all(one[known] == other[known] for known in shared)


def test_features_tell_architectures_apart_by_type_size_site_layer_and_training():
    plain = Placement("lora", "attention.query", 1, 4)
    changed = [
        Architecture((plain,)),
        Architecture((replace(plain, layer=2),)),
        Architecture((replace(plain, size=8),)),
        Architecture((replace(plain, site="attention.value"),)),
        Architecture((plain, replace(plain, layer=2))),
        Architecture((replace(plain, options=(("gate", True),)),)),
        Architecture((plain,), (("learning_rate", 0.001),)),
        Architecture((plain,), (("learning_rate", 0.01),)),
        Architecture((plain,), (("batch_size", 16),)),
        Architecture((plain,), (("epochs", 2.0),)),
        Architecture((plain,), (), "nf4"),
        Architecture(),
    ]
    rows = [tuple(Features(GEOMETRY).of(architecture)) for architecture in changed]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", list(Training.model_fields))
def test_every_setting_that_a_space_may_search_is_a_feature(name):
    rows = [Features(GEOMETRY).of(Architecture((), ((name, value),))) for value in (0.1, 0.2)]
    assert rows[0] != rows[1]


def test_counting_goes_through_every_valid_point_once_and_no_turn_through_many(monkeypatch):
    monkeypatch.setattr(pool, "PART", 5)
    small = space_of(LORA, small_bert(4), layers="mask")
    counting, sizes = Pool(small, Features(small.geometry), random.Random(0)), []
    for _ in range(48 // 5 + 3):
        counting.go_on()
        counted = counting.candidates(())
        sizes.append(len(counted.costs))
        assert counted.x.shape == (sizes[-1], len(Features(small.geometry).names))
    assert sizes[-1] == sizes[-3] == 3 * 15 and max(np.diff([0, *sizes])) <= 5
    for row, cost in enumerate(counted.costs):
        architecture = small.decode(counted.point(row))
        assert cost == cost_axis(small.params(architecture))
        assert counted.x[row].tolist() == Features(small.geometry).of(architecture)
    assert len({tuple(counted.point(row).items()) for row in range(45)}) == 45


def test_a_part_of_the_count_is_a_fair_sample(space, monkeypatch):
    monkeypatch.setattr(pool, "PART", 500)
    features = Features(GEOMETRY)
    counted = Counted(int(space.cardinality), len(features.names))
    counted.go_on(space, features)
    part = counted.costs
    while not counted.complete:
        counted.go_on(space, features)
    assert len(part) < len(counted.costs) / 10
    assert np.quantile(part, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(counted.costs, [0.1, 0.5, 0.9]), abs=0.1)


def test_what_is_counted_is_shared_by_the_searches_in_a_space_and_goes_with_it():
    own = load_space("autopeft", GEOMETRY, BASE)
    one, other = (Pool(own, Features(GEOMETRY), random.Random(seed)) for seed in range(2))
    one.go_on()
    assert len(other.candidates(()).costs) == len(one.candidates(()).costs) > 0
    gone, there = weakref.ref(own), len(pool._COUNTED)
    del own, one, other
    gc.collect()
    assert gone() is None and len(pool._COUNTED) == there - 1


# -- the warp

BUNCHED = np.array([0.2, 0.2, 0.5, 0.81, 0.83, 0.84, 0.84, 0.85, 0.86, 0.9])


def test_a_warp_keeps_the_order_and_there_is_a_way_back():
    warp = Warp(BUNCHED)
    tried = np.linspace(-0.5, 1.5, 201)
    quantiles = warp.quantiles(tried)
    assert (np.diff(quantiles) > 0).all()
    assert warp.scores(quantiles) == pytest.approx(tried, abs=1e-12)


def test_a_warp_gives_the_middle_rank_its_quantile_and_equal_scores_one():
    quantiles = Warp(BUNCHED).quantiles(BUNCHED)
    assert quantiles[0] == quantiles[1] and quantiles[5] == quantiles[6]
    assert quantiles[-1] == pytest.approx(norm.ppf(0.95)) and quantiles[0] == pytest.approx(norm.ppf(0.1))


def test_moments_of_a_warp_agree_with_monte_carlo():
    warp, rng = Warp(BUNCHED), np.random.default_rng(0)
    mean, deviation = np.array([-1.0, 0.0, 1.2, 3.0]), np.array([0.5, 1.0, 0.3, 0.2])
    drawn = warp.scores(mean[:, None] + deviation[:, None] * rng.normal(size=(4, 100_000)))
    found = warp.moments(mean, deviation)
    assert found[0] == pytest.approx(drawn.mean(axis=1), abs=0.01)
    assert found[1] == pytest.approx(drawn.std(axis=1), abs=0.015)
    certain = warp.moments(mean, np.zeros(4))
    assert certain[0] == pytest.approx(warp.scores(mean)) and certain[1] == pytest.approx(np.zeros(4), abs=1e-9)


def test_a_warp_of_two_scores_is_a_line():
    warp = Warp(np.array([0.3, 0.7]))
    assert warp.scores(2 * warp.quantiles(np.array([0.3, 0.7]))) == pytest.approx([0.1, 0.9])
