"""What cannot work is refused before any training: exit code 2, one message, nothing left in the store."""

import re
from pathlib import Path

import pytest
from transformers import AlbertConfig, AlbertForSequenceClassification, CLIPConfig

from tests.cli.conftest import Outcome, write_job

BUDGET = "give trials .40., wall time .90s, 30m, 2h. or GPU time .4gpu-h., more than 0"


@pytest.fixture
def search(run, tiny_model, tiny_task, home):
    """``search(option, value, ...)``: the answer to a request that is to be refused."""

    def call(*arguments: object) -> Outcome:
        outcome = run("search", "--model", tiny_model, "--task", tiny_task, "--executor", "inline", *arguments)
        assert run("list", "--json").json == [], "a search was created"
        return outcome

    return call


def refused(outcome: Outcome, *patterns: str, code: int = 2) -> None:
    assert outcome.code == code, outcome
    assert outcome.out == "" and "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    assert all(line.startswith("error: ") for line in lines), outcome.err
    assert len(lines) == len(patterns), outcome.err
    for pattern in patterns:
        assert sum(bool(re.search(pattern, line)) for line in lines) == 1, (pattern, outcome.err)


@pytest.mark.parametrize(
    "arguments, pattern",
    [
        (["--budget", "0"], f"^error: budget = '0': {BUDGET}$"),
        (["--budget", "-1"], f"budget = '-1': {BUDGET}"),
        (["--budget", "abc"], f"budget = 'abc': {BUDGET}"),
        (["--budget", "0m"], f"budget = '0m': {BUDGET}"),
        (["--budget", "1.5"], f"budget = '1.5': {BUDGET}"),
        (["--budget", "40 trials"], f"budget = '40 trials': {BUDGET}"),
        (["--budget", ""], f"budget = '': {BUDGET}"),
        (["--model", "minilmm"], "model = 'minilmm': did you mean minilm"),
        (["--model", "./nowhere"], "model = './nowhere': no such folder"),
        (["--task", "docstring"], "task = 'docstring': unknown; did you mean docstrings"),
        (["--task", "glue/sst3"], "task = 'sst3': unknown; did you mean sst2"),
        (["--task", "./missing.csv"], "task = './missing.csv': no such file or folder"),
        (["--space", "autopef"], "space = 'autopef': unknown; did you mean autopeft"),
        (["--space", "mine.yaml"], "space = 'mine.yaml': no such file"),
        (["--sampler", "tpee"], "sampler = 'tpee': unknown; did you mean tpe"),
        (["--executor", "rai"], "executor = 'rai': unknown; did you mean ray"),
        (["--metric", "acuracy"], "metric of a classification = 'acuracy': unknown; did you mean accuracy"),
        (["--metric", "pearson"], "metric of a classification = 'pearson': unknown; known: accuracy"),
        (["--text", "txt"], "text = 'txt': no such column in rows.csv; did you mean 'text'. columns: 'text', 'label'"),
        (["--label", "class"], "label = 'class': no such column in rows.csv; columns: 'text', 'label'"),
        (["--encoding", "utf9"], "encoding = 'utf9': unknown; did you mean utf-8"),
        (["--max-params", "1"], "max-params = '1': too low: the smallest architecture of 'autopeft' has 128 param"),
        (["--max-params", "many"], "max-params = 'many': give a number .300000, 300k, 1.5M. or a percentage"),
        (["--max-params", "-5"], "max-params = '-5': give a number"),
        (["--max-params", "0%"], "max-params = '0%': give a number"),
        (["--workers", "0"], "workers = '0': must be 1 or more"),
        (["--workers", "two"], "workers = 'two': must be a whole number"),
        (["--quantise", "int4"], "quantise = 'int4': must be 'none', 'int8' or 'nf4'"),
        (["--precision", "float16"], "precision = 'float16': must be 'auto', 'float32' or 'bfloat16'"),
        (["--seed", "-1"], "seed = '-1': must be 0 or more"),
        (["--seed", "99999999999"], "seed = '99999999999': must be below 2147483648"),
        (["--confirm", "-1"], "confirm = '-1': must be 0 or more"),
        (["--proxy-rows", "0"], "proxy.rows = '0': must be 1 or more"),
        (["--proxy-rows", "few"], "proxy.rows = 'few': must be a whole number"),
        (["--full-epochs", "0"], "full.epochs = '0': must be above 0"),
        (["--full-epochs", "nan"], "full.epochs = 'nan': must be"),
        (["--max-length", "2"], "task.max_length = '2': must be 4 or more"),
        (["--trial-timeout", "0"], "trial_timeout = '0': must be above 0"),
        (["--trial-timeout", "inf"], "trial_timeout = 'inf': must be a finite number"),
        (["--proxy-epochs", "inf"], "proxy.epochs = 'inf': must be a finite number"),
        (["--workers", "1025"], "workers = '1025': must be 1024 or less"),
        (["--confirm", "101"], "confirm = '101': must be 100 or less"),
        (
            ["--max-length", "513"],
            "task.max_length = 513: more tokens than the base model '.*' has positions for; give 512",
        ),
        (["--label", "all"], "label = 'all': no such column in rows.csv"),
        (["--cap", "bytes=100B"], "cap bytes = '100B': too low: the smallest .* has 128 parameters, which are 512 B"),
        (["--cap", "bytes=8kB", "--max-params", "100"], "max-params = '100': too low"),
        (["--cap", "bytes=100B", "--max-params", "100"], "cap bytes = '100B': too low"),
        (["--sampler", "s3delta", "--param-budgets", "0.0001%"], "param-budgets = '0.0001%': less than one parameter"),
        (["--model", "m" * 300], "model = 'm+...: too long for a name or a path; give up to 255 bytes"),
        (["--task", f"./{'t' * 300}.csv"], "task.name = './t+...: too long for a name or a path"),
        (["--space", f"{'s' * 300}.yaml"], "space = 's+...: too long for a name or a path"),
        (["--name", "a/b"], "name = 'a/b': could not be part of an address; leave '/' out"),
        (["--name", ""], "name = '': empty"),
        (["--name", " mine"], "name = ' mine': empty, or with blanks around it"),
        (["--name=-v"], "name = '-v': begins with '-'"),
        (["--name", "s-0123abcd"], "name = 's-0123abcd': looks like an id"),
        (["--name", "a\nb"], "name = 'a.nb': give up to 200 characters"),
        (["jobb.yaml"], "file = 'jobb.yaml': no such file"),
        (["rows.csv"], "job = 'rows.csv': a job file ends in .yaml; a task is given as --task rows.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_value_that_cannot_be(search, arguments, pattern):
    refused(search(*arguments), pattern)


@pytest.mark.parametrize(
    "name, content, pattern",
    [
        ("empty.csv", b"", "empty.csv: empty; it needs rows with named columns"),
        ("header.csv", b"text,label\n", "header.csv = .*: a header and no rows"),
        ("one.csv", b"text,label\n" + b"a b,x\n" * 20, "labels of one.csv = 'x': the only class; at least two"),
        ("few.csv", b"text,label\na,x\nb,y\n", "train rows of few.csv = 2: at least 8 are needed"),
        ("semicolons.csv", b"text;label\n" + b"a;x\nb;y\n" * 9, "columns of semicolons.csv = 'text;label': one col"),
        ("latin.csv", b"text,label\n" + b"caf\xe9,x\nb,y\n" * 9, "encoding of latin.csv = 'byte 0xe9 .*: not utf-8;"),
        ("ragged.csv", b"text,label\na,b,c\n" + b"a,x\nb,y\n" * 9, "ragged.csv = 'line 2': not 2 fields"),
        ("rows.xlsx", b"PK", "suffix of rows.xlsx = '.xlsx': unknown; known: .csv, .jsonl, .parquet, .tsv"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-6:] else "",
)
def test_table_that_cannot_be_trained_on(search, tmp_path, name, content, pattern):
    path = tmp_path / name
    path.write_bytes(content)
    refused(search("--task", path), pattern)


def test_labels_of_one_split_only(search, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "a,x\nb,y\n" * 9)
    (tmp_path / "validation.csv").write_text("text,label\n" + "a,x\nb,z\n" * 9)
    refused(search("--task", tmp_path), r"labels of validation.csv = \['z'\]: labels of the validation split that no")


def test_folder_that_is_no_model(search, tmp_path):
    refused(search("--model", tmp_path), "model = .*: this folder has no config.json; give a Hugging Face model")


@pytest.mark.parametrize("family", ["albert", "clip"])
def test_model_of_an_unknown_family(search, tmp_path, family):
    if family == "clip":
        CLIPConfig().save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"")
    else:
        sizes = {"vocab_size": 64, "hidden_size": 32, "embedding_size": 16, "intermediate_size": 48}
        config = AlbertConfig(num_attention_heads=4, num_hidden_layers=2, **sizes)
        AlbertForSequenceClassification(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(search("--model", tmp_path), f"model = '{family}': a model type with no known sites; AutoPEFT knows bert")


@pytest.mark.parametrize(
    "config, pattern",
    [
        ("{not json", "cannot be loaded: .*not a valid JSON file"),
        ("{}", "cannot be loaded: Unrecognized model"),
        (
            '{"model_type": "bert", "hidden_size": "wide"}',
            "cannot be loaded: Validation error for field 'hidden_size'",
        ),
        ('{"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4}', "cannot be loaded: The hidden size"),
    ],
)
def test_model_with_a_broken_config(search, tiny_model, tmp_path, config, pattern):
    folder = copy_of(tiny_model, tmp_path / "model")
    (folder / "config.json").write_text(config)
    refused(search("--model", folder), pattern)


def test_model_without_weights(search, tiny_model, tmp_path):
    folder = copy_of(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(search("--model", folder), "model = .*: no .safetensors weights in this folder")


def test_model_without_a_tokeniser(search, tiny_model, tmp_path):
    folder = copy_of(tiny_model, tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refused(search("--model", folder), "model = .*: no tokeniser in this folder")


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_space_with_typos_lists_them_all(search, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "schema: 1\nsummry: mine\nlayers: some\nmodules:\n"
        "  lorra: {sites: [attention.query], size: [0, 2]}\n"
        "  lora: {site: [attention.query], size: [4]}\n"
        "  prefix: {sites: [attention.kvv], size: [4]}\n"
    )
    refused(
        search("--space", path),
        "space.yaml: summary: missing",
        "space.yaml: summry: unknown key; did you mean summary",
        "space.yaml: layers = 'some': must be 'all', 'mask', 'range', a mapping or a list",
        "space.yaml: modules = 'lorra': unknown; did you mean lora",
        "space.yaml: modules.lorra.size.0 = 0: must be 1 or more",
        "space.yaml: modules.lora.sites: missing",
        "space.yaml: modules.lora.site: unknown key; did you mean sites",
        "space.yaml: modules.prefix.sites = 'attention.kvv': unknown; did you mean attention.kv",
    )


def test_several_mistakes_are_told_at_once(search, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("schema: 1\nsummary: mine\nmodules:\n  lorra: {sites: [attention.query], size: [2]}\n")
    outcome = search(
        *("--budget", "0", "--workers", "0", "--quantise", "int4", "--sampler", "x", "--model", "minilmm"),
        *("--space", space, "--metric", "y", "--max-params", "many", "--name", "-v"),
    )
    fields = ("budget", "workers", "quantise", "sampler", "model", "space.yaml: modules", "metric .*", "max-params")
    refused(outcome, *(rf"^error: {field} = " for field in fields), "^error: name = '-v'")


def test_job_file_with_mistakes_lists_them_all(run, home, tiny_model, tiny_task, tmp_path):
    fidelity = {"row": 3, "epochs": "long"}
    wrong = {"budgett": 3, "workers": "many", "max-params": 3, "baselines": 7, "name": 12, "proxy": fidelity}
    path = write_job(tmp_path / "job.yaml", tiny_model, tiny_task, budget="0", **wrong)
    refused(
        run("search", path),
        "budgett: unknown key; did you mean budget",
        "max-params: unknown key; did you mean max_params",
        "workers = 'many': must be a whole number",
        "baselines = 7: must be true or false",
        "name = 12: must be text",
        "proxy.row: unknown key; did you mean rows",
        "proxy.epochs = 'long': must be a number",
        "budget = '0': give trials",
    )
    assert run("list", "--json").json == []


@pytest.mark.parametrize(
    "content, arguments, pattern",
    [
        ("- a\n", [], "file = '.*': must hold a mapping"),
        ("a: [1\n", [], "file = '.*': not valid YAML: .* line 2"),
        ("task: [a, b]\n", ["--label", "x"], "task: must be a mapping"),
        ("task: {nam: a}\n", [], "task.nam: unknown key; did you mean name"),
    ],
)
def test_job_file_that_is_none(run, home, tmp_path, content, arguments, pattern):
    path = tmp_path / "job.yaml"
    path.write_text(content)
    outcome = run("search", path, *arguments)
    assert outcome.code == 2 and re.search(pattern, outcome.err), outcome


@pytest.mark.parametrize(
    "arguments, code, pattern",
    [
        (["show", "yours"], 3, "no search named 'yours'; there are: mine"),
        (["cancel", "yours"], 3, "no search named 'yours'"),
        (["front", "mine", "--plot", "front.pdf"], 2, "plot format = 'pdf': unknown; known: html, png"),
        (["front", "mine", "--plot", "front"], 2, "plot format = '': unknown; known: html, png"),
        (["export", "mine", "--out", "o", "--pick", "finest"], 2, "pick = 'finest': use best, knee, smallest"),
        (["export", "mine", "--out", "o", "--pick", "99"], 3, "search 'mine' has no finished trial 99"),
        (["export", "mine", "--out", "o", "--pick", "params<=1"], 5, "no architecture for 'params<=1'"),
        (["export", "mine", "--out", "o", "--format", "pefft"], 2, "format = 'pefft': unknown; did you mean peft"),
        (["resume", "mine", "--budget", "3"], 4, "search 'mine' has 10 finished trials already; 3 is fewer"),
        (["resume", "mine", "--budget", "+5m"], 2, "budget = '.5m': the search's budget is 10; add the same unit"),
        (["resume", "mine", "--budget", "more"], 2, "budget = 'more': give trials"),
        (["train", "none.yaml", "--out", "o"], 2, "file = 'none.yaml': no such file"),
        (["train", ".", "--out", "o"], 2, "recipe = '.': a folder; give the path of the recipe.yaml"),
        (["predict", "none", "--input", "x.csv"], 3, "no folder 'none'"),
        (["predict", ".", "--input", "x.csv"], 2, "folder = '.': not a trained model: no model.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_request_about_a_search_that_cannot_be(run, finished, tmp_path, monkeypatch, arguments, code, pattern):
    monkeypatch.chdir(tmp_path)
    outcome = run(*arguments)
    assert outcome.code == code and re.search(f"^error: .*{pattern}", outcome.err, re.MULTILINE), outcome
    assert outcome.out == "" and "Traceback" not in outcome.err and list(tmp_path.iterdir()) == []


def test_name_that_is_taken(run, finished, job):
    before = run("list", "--json").json
    refused(run("search", job), "a search named 'mine' exists already; choose another name or resume it", code=4)
    assert run("list", "--json").json == before


def test_winner_that_peft_cannot_hold(run, finished, tmp_path):
    mixed = next(row for row in run("front", "mine", "--json").json["baselines"] if row["name"].startswith("UniPELT"))
    outcome = run("export", "mine", "--pick", mixed["trial"], "--format", "peft", "--out", tmp_path / "out")
    assert outcome.code == 7 and not (tmp_path / "out").exists()
    assert "error: format 'peft' cannot hold this architecture:\n- " in outcome.err
    assert "serial_adapter: peft has no bottleneck adapters" in outcome.err


@pytest.mark.parametrize(
    "arguments, pattern",
    [
        (["serch"], "No such command 'serch'. Did you mean 'search'"),
        (["search", "--budgt", "4"], "No such option: --budgt .*--budget"),
        (["train", "recipe.yaml"], "Missing option '--out'"),
        (["show"], "Missing argument 'SEARCH'"),
        (["dashboard", "--port", "99999"], "Invalid value for '--port'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(run, home, arguments, pattern):
    outcome = run(*arguments)
    assert outcome.code == 2 and re.search(pattern, outcome.err), outcome
