"""``autopeft evidence``, on what the real samplers wrote, and ``Search.evidence``."""

import json
import sys

import pytest
from PIL import Image

import autopeft
from autopeft.cli.app import main
from autopeft.errors import InvalidInput
from autopeft.settings import Settings
from autopeft.stored import evidence_folder
from tests.cli.conftest import write_job
from tests.cli.test_docs import SECTIONS, blocks
from tests.search.test_strategies import GATED, STAGED

KEYS = {"search", "name", "state", "sampler", "metric", "structures", "samples", "stages", "design"}
GATES = {**GATED, "modules": {"lora": {**GATED["modules"]["lora"], "sites": ["ffn.in", "attention.query"]}}}
# Without a choice of groups there are few answers.
STAGES = {**STAGED, "groups": {"count": 2, "pattern": ["increasing", "uniform"]}}


@pytest.fixture(scope="module")
def kept_home(tiny_model, tiny_task, tmp_path_factory):
    """A data folder with a finished search by each sampler that keeps evidence; read it, and leave it as it is."""
    folder = tmp_path_factory.mktemp("kept")
    wanted = {
        "s3delta": (GATES, {"budget": 2, "param_budgets": ["300", "600"], "gates": {"steps": 5}}),
        "progressive": (STAGES, {"budget": 10}),
    }
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOPEFT_HOME", str(folder / "home"))
        patch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
        for sampler, (space, more) in wanted.items():
            path = folder / f"{sampler}-space.yaml"
            path.write_text(json.dumps(space))
            asked = {"name": sampler, "sampler": sampler, "space": str(path), "baselines": False, "confirm": 0, **more}
            job = write_job(folder / f"{sampler}.yaml", tiny_model, tiny_task, **asked)
            patch.setattr(sys, "argv", ["autopeft", "search", str(job)])
            with pytest.MonkeyPatch.context() as output:
                output.setattr(sys, "stdout", (folder / sampler).open("w"))
                with pytest.raises(SystemExit) as ended:
                    main()
                sys.stdout.close()
            assert not ended.value.code
            printed[sampler] = (folder / sampler).read_text()
    return folder / "home", printed


@pytest.fixture
def kept(kept_home, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_HOME", str(kept_home[0]))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    return kept_home[1]


def files(name):
    search = autopeft.Search.load(name)
    return sorted(evidence_folder(Settings.from_environment(), search.record.id).glob("*.json"))


def test_a_search_that_keeps_evidence_ends_by_naming_the_command(kept):
    for name, out in kept.items():
        *_, why, following = out.strip().splitlines()
        assert why == f"Why these: autopeft evidence {name}"
        assert following.startswith("Next: autopeft export")


def test_other_searches_do_not_name_it(run, home, job):
    printed = run("search", job, "--no-baselines", "--budget", 1, "--confirm", 0).out
    assert "Next: " in printed and "evidence" not in printed


def test_structures_are_a_row_each(run, kept):
    outcome = run("evidence", "s3delta")
    assert outcome.code == 0 and outcome.err == ""
    for structure in autopeft.Search.load("s3delta").evidence.structures:
        (row,) = (line for line in outcome.out.splitlines() if f"│ {structure.budget} " in line)
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        kept_gates = structure.kept
        assert cells[1:3] == [str(structure.params), f"{len(kept_gates)} of {len(structure.gates)}"]
        by_layer = [sum(gate.layer == layer for gate in kept_gates) for layer in (0, 1)]
        assert cells[4] == f"0: {by_layer[0]}, 1: {by_layer[1]}"
        site = kept_gates[0].site
        assert f"lora {site} {sum(gate.site == site for gate in kept_gates)}/2" in cells[3]


def test_stages_are_a_table_each_and_the_design_follows(run, kept):
    outcome = run("evidence", "progressive")
    assert outcome.code == 0 and outcome.err == ""
    tables, design = outcome.out.split("Design after ")
    evidence = autopeft.Search.load("progressive").evidence
    assert design.startswith(f"{len(evidence.stages)} stages, by the mean accuracy of each answer:")
    for number, stage in enumerate(evidence.stages, 1):
        assert f"Stage {number}: {stage.stage}" in tables
        assert f"  {stage.stage}: {stage.winner.label}" in design
        for answer in stage.answers:
            assert f"{answer.mean:.4f}" in tables and answer.label in tables
    best = [line for line in tables.splitlines() if line.rstrip(" │").endswith("best")]
    assert len(best) == len(evidence.stages)


def test_json_is_what_the_files_hold(run, kept):
    found = run("evidence", "s3delta", "--json").json
    assert found.keys() == KEYS and found["samples"] is None and not found["stages"] and not found["design"]
    on_disk = [json.loads(path.read_text()) for path in files("s3delta")]
    assert found["structures"] == sorted(on_disk, key=lambda document: document["budget"])
    found = run("evidence", "progressive", "--json").json
    (path,) = files("progressive")
    assert {key: found[key] for key in ("samples", "stages", "design")} == json.loads(path.read_text())
    assert found.keys() == KEYS and found["structures"] == [] and found["state"] == "done"


@pytest.mark.parametrize(("block", "sampler"), [(0, "s3delta"), (1, "progressive")])
def test_json_has_the_documented_keys(run, kept, block, sampler):
    documented = json.loads(blocks(SECTIONS["evidence"], "json")[block])
    real = run("evidence", sampler, "--json").json
    assert documented["sampler"] == real["sampler"]
    assert documented.keys() == real.keys()
    for path in (["structures", 0], ["structures", 0, "gates", 0], ["stages", 0], ["stages", 0, "answers", 0]):
        if documented[path[0]]:
            assert at(documented, path).keys() == at(real, path).keys(), path


def at(document, path):
    for step in path:
        document = document[step]
    return document


def test_out_writes_a_picture_each_and_names_it(run, kept, tmp_path):
    for name in ("s3delta", "progressive"):
        folder = tmp_path / "new" / name
        outcome = run("evidence", name, "--out", folder, "--json")
        assert outcome.code == 0 and outcome.json["name"] == name, "stdout is the document alone"
        written = [line.removeprefix("wrote ") for line in outcome.err.splitlines()]
        assert sorted(written) == sorted(map(str, folder.iterdir()))
        for path in written:
            with Image.open(path) as image:
                assert image.format == "PNG" and len(image.convert("RGB").getcolors(1 << 24)) > 20
    assert {path.name for path in (tmp_path / "new" / "s3delta").iterdir()} == {"gates-300.png", "gates-600.png"}
    assert (tmp_path / "new" / "progressive" / "stage-1-grouping.png").exists()


def test_out_that_is_a_file_is_refused(run, kept, tmp_path):
    (tmp_path / "taken").write_text("mine")
    outcome = run("evidence", "s3delta", "--out", tmp_path / "taken")
    assert outcome.code == 2 and "a file; name a folder" in outcome.err
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_sampler_that_keeps_none_is_named_beside_those_that_do(run, finished):
    outcome = run("evidence", "mine")
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.err == "error: sampler = 'random': keeps no evidence; those that do: s3delta, progressive\n"
    with pytest.raises(InvalidInput, match="keeps no evidence"):
        _ = autopeft.Search.load("mine").evidence


def test_an_unknown_search_is_not_found(run, home):
    assert run("evidence", "nobody").code == 3


def test_a_search_that_has_found_nothing_yet_says_so(run, options, tmp_path):
    for name, (space, nothing) in {
        "s3delta": (GATES, "no structure is found"),
        "progressive": (STAGES, "no stage is decided"),
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(space))
        asked = {"sampler": name, "space": str(path), "name": name, "budget": 10, "baselines": False}
        autopeft.Search(**{**options, **asked})
        outcome = run("evidence", name, "--out", tmp_path / "pictures")
        assert outcome.code == 0 and outcome.out == f"Search {name}: queued, and {nothing} yet.\n"
        assert outcome.err == "" and not (tmp_path / "pictures").exists()
        assert run("evidence", name, "--json").json.keys() == KEYS


def test_a_search_under_way_shows_what_is_decided(run, options, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(STAGES))
    asked = {"sampler": "progressive", "space": str(path), "name": "p", "budget": 10, "baselines": False, "confirm": 0}
    search = autopeft.Search(**{**options, **asked})

    def stop_after_the_first_stage(progress):
        if progress.done >= 3:
            controller.drain()

    controller = search.controller(stop_after_the_first_stage)
    assert controller.run().state == "interrupted"
    outcome = run("evidence", "p")
    assert "Stage 1: grouping" in outcome.out and "Stage 2" not in outcome.out
    assert "Design after 1 stage, by" in outcome.out


def test_a_damaged_file_is_named(run, options, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(GATES))
    search = autopeft.Search(**{**options, "sampler": "s3delta", "space": str(path), "name": "d"})
    folder = evidence_folder(Settings.from_environment(), search.record.id)
    folder.mkdir(parents=True)
    for content in ("", "{", '{"budget": 3}'):
        (folder / "gates-3.json").write_text(content)
        outcome = run("evidence", "d")
        assert outcome.code == 1 and "gates-3.json is damaged" in outcome.err
