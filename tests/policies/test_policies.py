"""What every policy keeps to, and what each of them does."""

import itertools
import math
import random

import pytest

from autopeft.architecture import Architecture
from autopeft.extrapolation import LEAST
from autopeft.messages import RUNGS, Bar, Fidelity, TrialReport
from autopeft.pareto import cost_axis
from autopeft.policies import POLICIES
from autopeft.policies.optimistic import REACHED
from autopeft.trial import Trial

STEPS = 90
FIDELITY = Fidelity(rows=1000, epochs=3, evaluations=1, rungs=RUNGS)
PLACES = (10, 30, STEPS)
SEEDS = range(12)
every_policy = pytest.mark.parametrize("policy", POLICIES.names)


def bars_of(policy, params, past, fidelity=FIDELITY):
    return POLICIES.get(policy).bars(params, fidelity, past)


def report(curve, steps=STEPS):
    """The report of a run that was trained to its end."""
    return TrialReport(key="", state="complete", steps=steps, curve=curve, scores={"holdout": curve[-1][1]})


def trial(params, scores, number=0, state="complete"):
    """A trial of these scores at the rungs and at the end, as far as it came."""
    curve = tuple(zip(PLACES, scores, strict=False))
    final = max(scores) if state == "complete" else None
    reason = None if state in ("complete", "running") else "pruned" if state == "pruned" else "diverged"
    return Trial(number, "", Architecture(), params, final, state, reason, 1.0, 1, steps=STEPS, curve=curve)


def random_trial(rng, number=0, grid=None):
    """A trial in any state; on a grid, many tie."""
    draw = (lambda: rng.randrange(grid) / grid) if grid else rng.random
    params = 10 ** rng.randint(2, 6) if grid else rng.randint(10**2, 10**6)
    early = draw()
    scores = [early, early + 0.2 * draw(), early + 0.4 * draw()]
    state = rng.choice(["complete", "complete", "complete", "pruned", "failed", "running"])
    came = {"complete": 3, "pruned": rng.randint(1, 2)}.get(state, 0)
    return trial(params, scores[:came], number, state)


def random_past(seed, count=None, grid=None):
    rng = random.Random(seed)
    return [random_trial(rng, i, grid) for i in range(rng.randint(1, 40) if count is None else count)]


# -- every policy


def test_the_policies_are_found():
    assert set(POLICIES.names) >= {"moasha", "none", "one_epoch", "optimistic"}


@every_policy
def test_a_policy_says_what_it_does(policy):
    found = POLICIES.get(policy)
    assert 10 <= len(found.summary) <= 120 and not found.summary.endswith(".")
    assert found.source or policy == "none"


@every_policy
def test_the_first_trial_is_held_to_nothing(policy):
    assert bars_of(policy, 1000, []) == ()


@every_policy
@pytest.mark.parametrize("state", ["running", "failed"])
def test_trials_that_say_nothing_hold_nobody_up(policy, state):
    assert bars_of(policy, 1000, [trial(10**power, (), power, state) for power in range(2, 6)] * 5) == ()


@every_policy
@pytest.mark.parametrize("grid", [None, 4])
@pytest.mark.parametrize("epochs", [1.0, 2.0, 3.0, 4.5])
def test_bars_are_at_the_rungs_or_after_one_epoch_each_at_a_share_of_its_own(policy, grid, epochs):
    fidelity = FIDELITY.model_copy(update={"epochs": epochs})
    allowed = [*RUNGS] if policy != "one_epoch" else [1 / epochs]
    for seed in SEEDS:
        bars = bars_of(policy, 3000, random_past(seed, grid=grid), fidelity)
        assert all(isinstance(bar, Bar) and math.isfinite(bar.score) for bar in bars)
        shares = [bar.share for bar in bars]
        assert len(set(shares)) == len(shares) and set(shares) <= set(allowed)


@every_policy
def test_without_rungs_there_are_no_bars_but_after_one_epoch(policy):
    fidelity = FIDELITY.model_copy(update={"rungs": ()})
    for seed in SEEDS:
        bars = bars_of(policy, 3000, random_past(seed), fidelity)
        assert not bars or policy == "one_epoch"


@every_policy
@pytest.mark.parametrize("grid", [None, 4])
def test_the_same_past_gives_the_same_bars_in_whatever_order(policy, grid):
    for seed in SEEDS:
        past = random_past(seed, grid=grid)
        for params in (100, 3000, 10**6):
            bars = bars_of(policy, params, past)
            assert bars == bars_of(policy, params, tuple(past))
            turned = bars_of(policy, params, random.Random(seed).sample(past, len(past)))
            assert [bar.share for bar in turned] == [bar.share for bar in bars]
            assert [bar.score for bar in turned] == pytest.approx([bar.score for bar in bars], abs=1e-9)


@every_policy
@pytest.mark.parametrize("grid", [None, 4])
def test_a_trial_that_dominates_every_other_at_every_rung_is_never_stopped(policy, grid):
    for seed in SEEDS:
        past = random_past(seed, grid=grid)
        tops = [max((t.curve[i][1] for t in past if len(t.curve) > i), default=0.5) for i in range(3)]
        best = report(tuple((step, top + 1e-6) for step, top in zip(PLACES, tops, strict=True)))
        bars = bars_of(policy, min(t.params for t in past) - 1, past)
        assert best.held_to(bars) == best, (seed, bars)


@every_policy
def test_a_trial_as_cheap_as_the_cheapest_and_far_better_than_all_is_never_stopped(policy):
    for seed in SEEDS:
        past = random_past(seed)
        best = report(tuple((step, 100.0) for step in PLACES))
        assert best.held_to(bars_of(policy, min(t.params for t in past), past)) == best, seed


@every_policy
def test_a_trial_that_goes_on_would_go_on_with_higher_scores(policy):
    for seed in SEEDS:
        past = random_past(seed)
        bars = bars_of(policy, 3000, past)
        for end in range(10):
            curve = tuple((step, end / 10) for step in PLACES)
            higher = tuple((step, (end + 1) / 10) for step in PLACES)
            if report(curve).held_to(bars).state == "complete":
                assert report(higher).held_to(bars).state == "complete"


@every_policy
def test_past_trials_that_run_or_failed_change_nothing(policy):
    for seed in SEEDS:
        past = random_past(seed)
        told = [t for t in past if t.state in ("complete", "pruned")]
        assert bars_of(policy, 3000, past) == bars_of(policy, 3000, told)


# -- none


def test_none_never_stops_a_trial():
    assert all(bars_of("none", params, random_past(seed)) == () for seed in SEEDS for params in (0, 1000, 10**7))


# -- one_epoch


@pytest.mark.parametrize("grid", [None, 3])
def test_one_epoch_keeps_exactly_what_no_cheaper_trial_beats_there(grid):
    outcomes = set()
    for seed in SEEDS:
        past = random_past(seed, grid=grid)
        scored = [(t.params, dict(t.curve)[30]) for t in past if 30 in dict(t.curve)]
        for params, score in itertools.product((99, 100, 10**4, 10**7), [*(s for _, s in scored), 0.0, 0.35, 2.0]):
            kept = report(((10, 0.0), (30, score), (90, score))).held_to(bars_of("one_epoch", params, past))
            beaten = any(p <= params and s > score for p, s in scored)
            assert kept.state == ("pruned" if beaten else "complete")
            outcomes.add(kept.state)
    assert outcomes == {"pruned", "complete"}


@pytest.mark.parametrize("epochs", [0.5, 1.0])
def test_one_epoch_stops_nothing_that_has_no_more(epochs):
    fidelity = FIDELITY.model_copy(update={"epochs": epochs})
    assert bars_of("one_epoch", 10**6, random_past(0), fidelity) == ()


def test_one_epoch_is_where_an_epoch_ends():
    past = [trial(100, (0.3, 0.5, 0.9))]
    assert bars_of("one_epoch", 100, past) == (Bar(share=1 / 3, score=0.5),)
    assert bars_of("one_epoch", 99, past) == ()
    assert bars_of("one_epoch", 100, past, FIDELITY.model_copy(update={"epochs": 9})) == (Bar(share=1 / 9, score=0.3),)


# -- moasha


def dominates(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def peeled(points):
    """The fronts from the best to the worst; a point that is there twice is in two of them."""
    left = list(points)
    while left:
        front = sorted({p for p in left if not any(dominates(q, p) for q in left)})
        yield front
        for p in front:
            left.remove(p)


def from_the_farthest(front):
    """The points of a front, each the farthest from those before it; the first is the cheapest."""
    costs, scores = zip(*front, strict=True)
    wide, high = max(costs) - min(costs) or 1, max(scores) - min(scores) or 1

    def gap(p, q):
        return math.hypot((p[0] - q[0]) / wide, (p[1] - q[1]) / high)

    left, chosen = sorted(front), []
    while left:
        chosen.append(max(left, key=lambda p: (min((gap(p, q) for q in chosen), default=math.inf), -p[0])))
        left.remove(chosen[-1])
    return chosen


def place_of(cost, score, there):
    """Where a point is ranked: how many are in earlier fronts, how many in its own, and its place from 0 in all."""
    mine, before, copies = (cost, score), 0, there.count((cost, score))
    for front in peeled([*there, mine]):
        if mine in front and not copies:
            return before, len(front), before + from_the_farthest(front).index(mine)
        copies -= mine in front
        before += len(front)
    raise AssertionError(mine)


def goes_on(cost, score, there):
    """Whether it is in the first third, itself counted."""
    return place_of(cost, score, there)[2] < math.ceil((len(there) + 1) / 3)


def is_settled(cost, score, there):
    """Whether the whole of its front is in the first third, or none; else its place within the front decides."""
    before, size, _ = place_of(cost, score, there)
    return not before < math.ceil((len(there) + 1) / 3) < before + size


def at_the_first_rung(seed, count, grid):
    """Random trials that came to the first rung, as points too."""
    rng = random.Random(1000 * count + seed)
    past = []
    for _ in range(count):
        params = 10 ** rng.randint(2, 4) if grid else rng.randint(10**2, 10**4)
        past.append(trial(params, (rng.randrange(grid) / grid if grid else rng.random(),), state="pruned"))
    return past, [(cost_axis(t.params), t.curve[0][1]) for t in past]


def first_bar(params, past):
    return next((bar.score for bar in bars_of("moasha", params, past) if bar.share == 1 / 9), -math.inf)


CANDIDATES = (10, 100, 1000, 3000, 10**4, 10**5)
grids = pytest.mark.parametrize("grid", [None, 5])
counts = pytest.mark.parametrize("count", [*range(2, 8), 12, 20])


@grids
@counts
def test_moasha_keeps_what_a_ranking_by_fronts_puts_into_the_first_third(count, grid):
    outcomes = set()
    for seed in range(15):
        past, there = at_the_first_rung(seed, count, grid)
        levels = {score for _, score in there}
        for params, score in itertools.product(CANDIDATES, [*levels, 2.0]):
            if is_settled(cost_axis(params), score, there):
                wanted = goes_on(cost_axis(params), score, there)
                assert (score >= first_bar(params, past)) == wanted, (params, score, there)
                outcomes.add(wanted)
    assert outcomes == {True, False}


@grids
@pytest.mark.parametrize("count", [3, 5, 12, 20])
def test_moasha_keeps_so_between_the_scores_that_came_and_below_them_too(count, grid):
    for seed in range(15):
        past, there = at_the_first_rung(seed, count, grid)
        levels = sorted({score for _, score in there})
        between = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
        for params, score in itertools.product(CANDIDATES, [-1.0, *between]):
            if is_settled(cost_axis(params), score, there):
                wanted = goes_on(cost_axis(params), score, there)
                assert (score >= first_bar(params, past)) == wanted, (params, score, there)


@grids
def test_moasha_nearly_always_keeps_the_sparse_of_a_front_that_is_kept_in_part(grid):
    # Of two scores that leave a trial on one front, the higher may lie closer to another point.
    agreed = []
    for seed in range(40):
        past, there = at_the_first_rung(seed, 20, grid)
        for params, score in itertools.product(CANDIDATES, sorted({score for _, score in there})):
            agreed.append((score >= first_bar(params, past)) == goes_on(cost_axis(params), score, there))
    assert sum(agreed) > 0.99 * len(agreed)


def test_moasha_lets_two_through_before_it_ranks():
    assert bars_of("moasha", 10**6, [trial(100, (0.9,), state="pruned")]) == ()
    two = [trial(100, (0.9, 0.9, 0.9)), trial(200, (0.8,), state="pruned")]
    assert [bar.share for bar in bars_of("moasha", 10**6, two)] == [1 / 9]


def test_moasha_ranks_at_every_rung_those_that_came_there():
    past = [trial(100 + i, (0.5 + i / 100, 0.6 + i / 100, 0.9)) for i in range(6)]
    stopped = [trial(50, (0.9,), i, "pruned") for i in range(6)]
    alone = bars_of("moasha", 1000, past)
    both = bars_of("moasha", 1000, [*past, *stopped])
    assert [bar.share for bar in both] == list(RUNGS)
    assert both[0].score > alone[0].score and both[1] == alone[1]


@pytest.mark.parametrize("seed", range(4))
def test_moasha_lets_about_a_third_of_random_trials_through(seed):
    rng, past, went_on = random.Random(seed), [], 0
    for number in range(150):
        params, score = rng.randint(10**2, 10**6), rng.random()
        bars = [bar for bar in bars_of("moasha", params, past) if bar.share == 1 / 9]
        went_on += all(score >= bar.score for bar in bars)
        past.append(trial(params, (score,), number, "pruned"))
    assert 0.25 < went_on / 150 < 0.45


# -- optimistic


def regular(count, seed=0, noise=0.01):
    """Trials that gain about 0.2 after the last rung, and of which the dear ones score more."""
    rng = random.Random(seed)
    past = []
    for number in range(count):
        params = round(10 ** rng.uniform(2, 6))
        early = 0.3 + 0.1 * (cost_axis(params) - 2) + rng.uniform(-0.02, 0.02)
        final = early + 0.2 + rng.gauss(0, noise)
        past.append(trial(params, (early - 0.1, early, final), number))
    return past


def outcome(params, scores, past):
    return report(tuple(zip(PLACES, scores, strict=True))).held_to(bars_of("optimistic", params, past)).state


@pytest.mark.parametrize("count", range(LEAST + 2))
def test_optimistic_stops_nothing_before_six_runs_came_to_their_end(count):
    stopped = [trial(10**4, (0.5, 0.6), i, "pruned") for i in range(10)]
    bars = bars_of("optimistic", 10**7, [*regular(count), *stopped])
    assert [bar.share for bar in bars] == (list(RUNGS) if count >= LEAST == 6 else [])


def test_optimistic_lets_the_cheapest_go_on():
    past = regular(30)
    third = sorted(t.params for t in past)[REACHED - 1]
    assert bars_of("optimistic", third - 1, past) == (), "two trials alone set no bar"
    assert bars_of("optimistic", third, past) != ()


@pytest.mark.parametrize("seed", range(5))
def test_optimistic_goes_by_the_front_at_the_trials_own_cost(seed):
    past = regular(30, seed)
    for params in (10**4, 10**5, 10**6):
        front = sorted(t.score for t in past if t.params <= params)[-REACHED]
        above, below = front - 0.2 + 0.1, front - 0.2 - 0.1
        assert outcome(params, (above - 0.1, above, 0.0), past) == "complete"
        assert outcome(params, (below - 0.1, below, 0.0), past) == "pruned"
        assert outcome(params, (above - 0.1, below, 0.0), past) == "pruned"


@pytest.mark.parametrize("seed", range(5))
def test_optimistic_takes_from_a_cheap_trial_what_is_not_enough_of_a_dear_one(seed):
    past = regular(30, seed)
    assert outcome(2000, (0.35, 0.45, 0.65), past) == "complete"
    assert outcome(10**6, (0.35, 0.45, 0.65), past) == "pruned"


def test_optimistic_hopes_for_more_where_runs_differ_more():
    certain, wild = (bars_of("optimistic", 10**6, regular(200, noise=noise)) for noise in (0.001, 0.1))
    front = [max(t.score for t in regular(200, noise=noise)) for noise in (0.001, 0.1)]
    slack = [top - bars[1].score for top, bars in zip(front, (certain, wild), strict=True)]
    assert slack[1] > slack[0] + 0.05


def test_optimistic_does_not_hold_a_trial_to_dearer_ones():
    past = regular(30)
    beyond = [trial(10**7, (0.9, 0.95, 1.15), i) for i in range(3)]
    front = max(t.score for t in past if t.params <= 10**4)
    early = front - 0.2 + 0.1
    assert outcome(10**4, (early - 0.1, early, front), [*past, *beyond]) == "complete"
