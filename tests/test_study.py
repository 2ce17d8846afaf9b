"""The study by itself: what it proposes, what it remembers, and what it records."""

import json
import math
import random
import statistics
from collections import Counter

import optuna
import pytest
import yaml
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from transformers import BertConfig

from autopeft.architecture import Architecture, Placement
from autopeft.errors import NoFeasibleArchitecture
from autopeft.geometry import ModelGeometry
from autopeft.messages import TrialReport
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.pareto import cost_axis
from autopeft.registry import SAMPLERS
from autopeft.samplers.asking import PATIENCE
from autopeft.samplers.base import Setting
from autopeft.space import load_space
from autopeft.study import Study
from autopeft.trial import open_storage

GEOMETRY = ModelGeometry.from_config(
    BertConfig(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128).to_dict()
)
BASE = 1_000_000
SPREADING = ("gp", "nsga2", "tpe")
ASKING = ("random", *SPREADING)


def admit_up_to(cap=math.inf):
    def admit(architecture):
        normal = normalise(architecture, GEOMETRY)
        params = count_parameters(normal, GEOMETRY)
        return (normal, params) if params <= cap else None

    return admit


def make(sampler="random", space="autopeft", seed=0, cap=math.inf, storage=None, name="mine"):
    bound = load_space(str(space), GEOMETRY)
    return Study(storage or InMemoryStorage(), name, sampler, "accuracy", Setting(bound, seed, admit_up_to(cap)))


@pytest.fixture
def file(tmp_path):
    """``file(modules, **more)``: the path of a space with these modules."""

    def write(modules, **more):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({"schema": 1, "summary": "made up", "modules": modules, **more}))
        return path

    return write


FEW = {"lora": {"sites": ["attention.query"], "size": [64, 4, 1]}}


def beyond_the_spread(sampler):
    """How many points show what the sampler does by itself; a Gaussian process takes a second for each."""
    return 13 if sampler == "gp" else 18


def score(architecture):
    """A made-up score that depends on the architecture alone."""
    return random.Random(architecture.fingerprint).uniform(0.4, 0.6) + 0.05 * len(architecture.layers)


def report(**changes):
    return TrialReport(key="", state="complete", seconds=1.23456, device="cpu (test)", **changes)


def step(study, fail=False):
    proposal = study.propose()
    if proposal is None:
        return None
    trial = study.start(proposal, BASE)
    if fail:
        return study.tell(trial.number, TrialReport.failure("", "diverged", "the loss is inf"), None)
    return study.tell(trial.number, report(), score(trial.architecture))


def run(study, count):
    return [step(study) for _ in range(count)]


def outcome(trials):
    return [(t.architecture.fingerprint, t.params, t.score) for t in trials]


# -- what is proposed


@pytest.mark.parametrize("sampler", ASKING)
def test_the_same_seed_proposes_the_same_and_another_does_not(sampler):
    first, again, other = (run(make(sampler, seed=seed), beyond_the_spread(sampler)) for seed in (0, 0, 1))
    assert outcome(first) == outcome(again) != outcome(other)
    assert max(Counter(t.architecture for t in first).values()) == 1


@pytest.mark.parametrize("sampler", SPREADING)
def test_first_points_fill_the_cost_axis_evenly_from_both_ends(sampler):
    study = make(sampler)
    spread = SAMPLERS.get(sampler).spread
    costs = [cost_axis(t.params) for t in run(study, spread)]
    # The smallest is one prefix of one layer, the largest all sizes at the width in all four.
    low, high = cost_axis(2 * 64), cost_axis(4 * (2 * 64 * 64 * 2 + 2 * 64 * 64))
    wanted = [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8, 1 / 16, 9 / 16, 5 / 16, 13 / 16]
    assert [(cost - low) / (high - low) for cost in costs] == pytest.approx(wanted[:spread], abs=0.06)


def test_random_takes_points_as_they_come_and_nearly_all_are_dear():
    costs = [cost_axis(t.params) for t in run(make("random"), 12)]
    assert SAMPLERS.get("random").spread == 0
    assert sum(cost > 3.5 for cost in costs) > 8


def test_the_spread_goes_on_where_it_was_after_a_resume_and_does_not_count_baselines():
    storage = InMemoryStorage()
    study = make("tpe", storage=storage)
    architecture, params = admit_up_to()(Architecture((Placement("ia3", "ffn.hidden", 0),)))
    baseline = study.start_given(architecture, params, BASE, "(IA)^3")
    study.tell(baseline.number, report(), 0.5)
    run(study, 5)
    costs = [cost_axis(t.params) for t in run(make("tpe", storage=storage), 3)]
    low, high = cost_axis(2 * 64), cost_axis(4 * (2 * 64 * 64 * 2 + 2 * 64 * 64))
    assert [(cost - low) / (high - low) for cost in costs] == pytest.approx([5 / 8, 3 / 8, 7 / 8], abs=0.06)


@pytest.mark.parametrize("sampler", ASKING)
def test_a_cap_is_kept_by_every_proposal(sampler):
    cap = 2000
    trials = run(make(sampler, cap=cap), beyond_the_spread(sampler))
    assert all(t.params <= cap for t in trials)
    if sampler in SPREADING:
        low, high = cost_axis(2 * 64), cost_axis(cap)
        spreads = [run(make(sampler, seed=seed, cap=cap), 8) for seed in range(5)]
        costs = [sorted((cost_axis(t.params) - low) / (high - low) for t in spread) for spread in spreads]
        # How near below the cap the last of eight places, 7/8, is reached is chance: 0.76 to 0.90 over twelve seeds.
        top = statistics.median(spread[-1] for spread in costs)
        assert max(spread[0] for spread in costs) < 0.05 and top > 0.8, "what is spread over is the axis up to the cap"


@pytest.mark.parametrize("sampler", ASKING)
def test_a_small_space_is_used_up_without_a_duplicate_and_then_gives_none(sampler, file):
    # Three ranks, and ten runs of layers; a Gaussian process would take a minute for those.
    layers = "all" if sampler == "gp" else "range"
    study = make(sampler, file(FEW, layers=layers))
    trials = []
    while (trial := step(study)) is not None:
        trials.append(trial)
    assert len({t.architecture for t in trials}) == len(trials) == (3 if layers == "all" else 30)
    assert study.propose() is None and len(study.trials()) == len(trials)


def test_a_space_of_one_point_without_dimensions_gives_it_once(file):
    for sampler in ("random", "tpe"):
        study = make(sampler, file({"ia3": {"sites": ["attention.key"]}}))
        assert step(study).params == 4 * 64
        assert step(study) is None


def test_what_runs_is_not_proposed_again(file):
    study = make("tpe", file(FEW))
    proposals = []
    while (proposal := study.propose()) is not None:
        proposals.append(study.start(proposal, BASE))
    assert len(proposals) == 3 and {t.state for t in study.trials()} == {"running"}


def test_a_baseline_is_not_proposed_again(file):
    study = make("random", file(FEW))
    architecture, params = admit_up_to()(
        Architecture(tuple(Placement("lora", "attention.query", layer, 4) for layer in range(4)))
    )
    study.start_given(architecture, params, BASE, "LoRA 4")
    assert sorted(t.architecture.placements[0].size for t in iter(lambda: step(study), None)) == [1, 64]


def test_a_sampler_that_is_stuck_gets_help_from_random_points(monkeypatch):
    study = make("random")
    asked = []
    ask = study._chooser._memory._study.ask

    def the_same(fixed_distributions):
        asked.append(1)
        trial = ask(fixed_distributions=fixed_distributions)
        if not study._chooser._memory._study._storage.get_trial(trial._trial_id).system_attrs.get("fixed_params"):
            monkeypatch.setattr(type(trial), "params", property(lambda self: same), raising=True)
        return trial

    same = {d.name: 1 if d.ordered else True for d in study._chooser.space.dimensions}
    params = optuna.Trial.params
    monkeypatch.setattr(study._chooser._memory._study, "ask", the_same)
    first = step(study)
    asked.clear()
    second = step(study)
    monkeypatch.setattr(optuna.Trial, "params", params)
    assert first.architecture != second.architecture
    assert len(asked) == PATIENCE + 1, "and the random point is put into the sampler's memory"


def test_a_cap_that_nothing_meets_is_no_feasible_architecture():
    with pytest.raises(NoFeasibleArchitecture, match="none of 2000 random points of 'autopeft' meets the caps"):
        make("random", cap=1).propose()


# -- what is recorded and remembered


def test_ordered_choices_are_by_position_in_the_memory_and_readable_in_the_record(file):
    study = make("tpe", file(FEW, training={"learning_rate": {"low": 1e-4, "high": 1e-2}}))
    trial = step(study)
    size = trial.architecture.placements[0].size
    (recorded,) = study._record.get_trials()
    (remembered,) = study._chooser._memory._study.get_trials()
    assert recorded.params["lora.size"] == size
    assert recorded.distributions["lora.size"].choices == (64, 4, 1)
    assert remembered.params["lora.size"] == [64, 4, 1].index(size)
    assert remembered.distributions["lora.size"] == optuna.distributions.IntDistribution(0, 2)
    rate = dict(trial.architecture.training)["learning_rate"]
    assert recorded.params["training.learning_rate"] == remembered.params["training.learning_rate"] == rate
    assert recorded.values == [trial.params, trial.score]
    assert remembered.values == [cost_axis(trial.params), trial.score]


def test_a_record_says_everything_about_its_trial():
    study = make("random")
    trial = step(study)
    attributes = study._record.get_trials()[0].user_attrs
    assert attributes == {
        "name": "",
        "fingerprint": trial.architecture.fingerprint,
        "params": trial.params,
        "params_percent": round(100 * trial.params / BASE, 4),
        "summary": trial.architecture.summary(),
        "attempts": 1,
        "architecture": trial.architecture.canonical_json(),
        "seconds": 1.235,
        "device": "cpu (test)",
    }
    document = trial.to_dict()
    assert document["name"] == trial.architecture.summary() and document["state"] == "complete"
    assert json.loads(json.dumps(document))["architecture"] == trial.architecture.to_dict()


def test_to_tell_twice_changes_nothing():
    study = make("tpe")
    trial = study.start(study.propose(), BASE)
    told = study.tell(trial.number, report(), 0.7)
    assert study.tell(trial.number, report(), 0.1) == told
    assert study.tell(trial.number, TrialReport.failure("", "timeout"), None) == told
    assert study.trials() == [told]
    assert [t.values for t in study._chooser._memory._study.get_trials()] == [[cost_axis(told.params), 0.7]]


def test_a_failed_trial_has_its_reason_and_is_not_proposed_again(file):
    study = make("tpe", file(FEW))
    failed = step(study, fail=True)
    assert (failed.state, failed.reason, failed.score) == ("failed", "diverged", None)
    assert study._record.get_trials()[0].user_attrs["detail"] == "the loss is inf"
    assert study._chooser._memory._study.get_trials()[0].state == TrialState.FAIL
    assert len(list(iter(lambda: step(study), None))) == 2


def test_a_report_without_score_and_reason_is_an_error():
    study = make("random")
    trial = study.start(study.propose(), BASE)
    assert study.tell(trial.number, TrialReport(key="", state="failed"), None).reason == "error"


def test_what_a_cap_refuses_reaches_the_sampler_and_not_the_record():
    study = make("random", cap=3000)
    run(study, 5)
    states = Counter(t.state for t in study._chooser._memory._study.get_trials())
    assert states[TrialState.COMPLETE] == 5 and states[TrialState.PRUNED] > 0
    assert len(study._record.get_trials()) == 5


@pytest.mark.parametrize("sampler", ASKING)
def test_resumed_it_remembers_what_was_told_and_goes_on_with_something_new(sampler, tmp_path):
    url = f"sqlite:///{tmp_path / 'autopeft.db'}"
    study = make(sampler, storage=open_storage(url))
    before = run(study, 11)
    step(study, fail=True)
    resumed = make(sampler, storage=open_storage(url))
    assert resumed.trials()[:11] == before
    memory = [t for t in resumed._chooser._memory._study.get_trials() if t.state == TrialState.COMPLETE]
    assert [t.values for t in memory] == [[cost_axis(t.params), t.score] for t in before]
    assert memory[0].params == study._chooser._memory._study.get_trials()[0].params or sampler == "random"
    run(resumed, 2)
    assert len({t.architecture for t in resumed.trials()}) == len(resumed.trials()) == 14


def test_a_restart_is_counted():
    study = make("random")
    trial = study.start(study.propose(), BASE)
    study.restart(trial)
    assert study.trials()[0].attempts == 2


def test_a_trial_that_was_asked_for_and_not_recorded_is_failed_with_a_reason():
    study = make("random")
    study._record.ask()
    kept = study.start(study.propose(), BASE)
    study.drop_unrecorded()
    dropped, running = study._record.get_trials()
    assert dropped.state == TrialState.FAIL and dropped.user_attrs["reason"] == "controller_lost"
    assert running.state == TrialState.RUNNING and [t.number for t in study.trials()] == [kept.number]


def test_two_studies_of_one_database_do_not_mix(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'autopeft.db'}")
    one, two = make("random", storage=storage, name="one"), make("random", storage=storage, name="two", seed=5)
    run(one, 3)
    run(two, 2)
    assert (len(one.trials()), len(two.trials())) == (3, 2)
    assert [t.number for t in two.trials()] == [0, 1]
    assert optuna.load_study(study_name="one", storage=storage).metric_names == ["params", "accuracy"]
