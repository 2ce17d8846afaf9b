"""Spaces and trials for Ray Tune: `OptunaSearch` takes the one, a real `tune.Tuner` runs the other."""

import pickle
import re
from pathlib import Path

import optuna
import pytest
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

import autopeft.tune
from autopeft.base_models import describe_model
from autopeft.errors import AutopeftError, InvalidInput
from autopeft.messages import TrialReport
from autopeft.space import Choice, load_space, space_names
from autopeft.tune import WORST_SCORE, ArchitectureTrial, define_by_run

METRICS = {"metric": ["log_params", "score"], "mode": ["min", "max"]}
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def local_ray():
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


@pytest.fixture
def job_options(options):
    return {key: options[key] for key in ("model", "task", "space", "proxy")}


@pytest.fixture
def trial(job_options, monkeypatch):
    """``trial(run, **options)``: a trial in this process, with ``run`` for the worker."""

    def make(run, **more):
        job = autopeft.tune.Job(**{**job_options, **more})
        made = object.__new__(ArchitectureTrial)
        made._trial_info = None
        made.setup({}, job._plan)
        made._run = run
        return made, job

    return make


def ask(space):
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=0))
    while True:
        asked = study.ask()
        yield space(asked), asked


def valid_point(job):
    return next(point for point, _ in ask(job.space) if job.architecture(point) is not None)


# -- the space --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", space_names())
def test_a_shipped_space_is_a_define_by_run_function(name):
    model = describe_model("minilm")
    space = load_space(name, model.geometry, model.parameters)
    for (point, asked), _ in zip(ask(define_by_run(space)), range(20), strict=False):
        assert list(point) == list(asked.params) == [dimension.name for dimension in space.dimensions]
        assert (asked.constraints["admitted"] > 0) == (space.decode(point) is None)
        for dimension in space.dimensions:
            value = point[dimension.name]
            if isinstance(dimension, Choice):
                assert value in dimension.choices and type(value) in {type(choice) for choice in dimension.choices}
                position = asked.params[dimension.name] if dimension.ordered else dimension.choices.index(value)
                assert dimension.choices[position] == value
            else:
                assert dimension.low <= value <= dimension.high
                assert asked.params[dimension.name] == value


def test_the_cap_is_a_constraint_too(job_options):
    job = autopeft.tune.Job(**job_options, max_params=3000)
    refused = [asked.constraints["admitted"] > 0 for (_, asked), _ in zip(ask(job.space), range(30), strict=False)]
    points = [point for (point, _), _ in zip(ask(job.space), range(30), strict=False)]
    assert refused == [job.architecture(point) is None for point in points]
    assert set(refused) == {True, False}


def test_the_function_is_saved_as_tune_saves_its_searchers(job_options, tmp_path):
    search = OptunaSearch(space=autopeft.tune.Job(**job_options).space, **METRICS, seed=1)
    search.suggest("first")
    search.save(str(tmp_path / "searcher"))
    restored = OptunaSearch(space={}, **METRICS)
    restored.restore(str(tmp_path / "searcher"))
    assert restored.suggest("second") == search.suggest("second")


def test_names_with_a_slash_survive_tune(job_options, tmp_path):
    space = tmp_path / "slash.yaml"
    space.write_text(
        "schema: 1\nsummary: a slash\nmodules:\n  a/b: {type: lora, sites: [attention.query], size: [1, 2, 4]}\n"
    )
    job = autopeft.tune.Job(**{**job_options, "space": str(space)})
    config = OptunaSearch(space=job.space, **METRICS, seed=0).suggest("first")
    assert "a" in config
    assert job.architecture(config).placements[0].size in (1, 2, 4)


# -- the trial --------------------------------------------------------------------------------------------------------


def test_an_architecture_is_trained_once_in_a_process(trial):
    requests = []

    def run(request):
        requests.append(request)
        return TrialReport(key=request.key, state="complete", scores={"holdout": 0.5}, seconds=2.0)

    made, job = trial(run)
    made.config = valid_point(job)
    first, second = made.step(), made.step()
    assert len(requests) == 1 and requests[0].decoded == job.architecture(made.config)
    assert not first["repeated"] and second == first | {"repeated": True}


def test_a_run_without_a_score_is_an_error_of_its_trial(trial):
    made, job = trial(lambda request: TrialReport.failure(request.key, "diverged", "the loss is nan"))
    made.config = valid_point(job)
    with pytest.raises(AutopeftError, match="diverged: the loss is nan"):
        made.step()


@pytest.mark.parametrize(
    ("cluster", "asked"), [({"CPU": 8.0}, {"CPU": 1}), ({"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 1})]
)
def test_a_trial_asks_for_a_gpu_where_there_are_any(monkeypatch, cluster, asked):
    monkeypatch.setattr(ray, "cluster_resources", lambda: cluster)
    assert ArchitectureTrial.default_resource_request({}).bundles == [asked]


def test_what_tune_decides_is_refused_beside_every_other_problem(job_options):
    with pytest.raises(InvalidInput) as caught:
        autopeft.tune.Job(**{**job_options, "space": "loar"}, budget=40, spaec="lora")
    assert {problem.field for problem in caught.value.problems} == {"budget", "space", "spaec"}


# -- a real Tuner -----------------------------------------------------------------------------------------------------


def fit(job, tmp_path, samples=6, seed=0):
    config = tune.TuneConfig(
        search_alg=OptunaSearch(space=job.space, **METRICS, seed=seed),
        num_samples=samples,
        max_concurrent_trials=2,
        reuse_actors=True,
    )
    run = tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    return config.search_alg, tune.Tuner(job.trainable, tune_config=config, run_config=run).fit()


@pytest.mark.slow
def test_a_tuner_reports_our_objectives_and_survives_invalid_points(local_ray, job_options, tmp_path):
    # Two in five points of this space decode to nothing.
    job = autopeft.tune.Job(**{**job_options, "space": "lora"}, max_params=4000)
    search, results = fit(job, tmp_path, samples=8)
    assert not results.errors and len(results) == 8
    reported = [(job.architecture(result.config), result.metrics) for result in results]
    assert {metrics["feasible"] for _, metrics in reported} == {True, False}
    for architecture, metrics in reported:
        assert metrics["feasible"] == (architecture is not None)
        if architecture is None:
            assert metrics["score"] == WORST_SCORE and metrics["fingerprint"] == ""
            continue
        assert metrics["fingerprint"] == architecture.fingerprint
        assert 0 < metrics["params"] <= 4000 and 0 <= metrics["score"] <= 1 and metrics["seconds"] > 0
    # Each process served several trials, and Optuna was told of all of them.
    assert len({metrics["pid"] for _, metrics in reported}) <= 2
    told = search._ot_study.trials
    assert [trial.state for trial in told] == [optuna.trial.TrialState.COMPLETE] * 8
    assert sum(trial.constraints["admitted"] > 0 for trial in told) == sum(a is None for a, _ in reported)


@pytest.mark.slow
def test_the_example_of_the_readme_runs(local_ray, job_options, tmp_path, monkeypatch):
    section = README.read_text(encoding="utf-8").split("\n## From Ray Tune\n")[1].split("\n## ")[0]
    code = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[1]
    assert len(code.splitlines()) <= 10
    real = autopeft.tune.Job
    monkeypatch.setattr(autopeft.tune, "Job", lambda **asked: real(**{**asked, **job_options}))
    monkeypatch.setattr("ray.train.constants.DEFAULT_STORAGE_PATH", str(tmp_path))
    names = {}
    exec(code.replace("num_samples=20", "num_samples=2"), names)
    assert len(names["results"]) == 2 and not names["results"].errors
    assert pickle.loads(pickle.dumps(names["job"].space))
