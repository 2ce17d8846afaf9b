import json
import subprocess
import sys
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HFValidationError

from autopeft.errors import InvalidInput
from autopeft.messages import TaskSpec
from autopeft.tasks import glue, hf, load_task

LOAD = datasets.load_dataset_builder
NAMES = ("negative", "positive")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """No hub, and a cache of the test's own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def write(folder, split, texts, labels, names=NAMES, **more):
    """Write a split as Parquet, as the hub keeps it: with the class names in its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"text": texts, "label": labels} | more
    features = {name: Value("int64") if name == "idx" else Value("string") for name in columns}
    features["label"] = ClassLabel(names=list(names)) if names else Value("int64")
    Dataset.from_dict(columns, features=Features(features)).to_parquet(folder / f"{split}.parquet")


def texts(count, word="text"):
    return [f"{word} {i}" for i in range(count)]


def problem(name, **fields):
    with pytest.raises(InvalidInput) as caught:
        load_task(TaskSpec(name=name, **fields))
    return str(caught.value)


# Local folders


def test_class_names_come_from_the_features_and_hidden_test_labels_make_no_split(tmp_path):
    write(tmp_path / "set", "train", texts(40), [1, 0] * 20)
    write(tmp_path / "set", "validation", texts(8, "v"), [0, 1] * 4)
    write(tmp_path / "set", "test", texts(8, "hidden"), [-1] * 8)
    task = load_task(TaskSpec(name=f"hf:{tmp_path}/set"))
    assert task.labels == NAMES and task.validation.targets.tolist() == [0, 1] * 4
    assert not any("hidden" in text for text in task.test.first) and len(task.test) == 6


def test_the_order_of_declared_classes_is_kept(tmp_path):
    write(tmp_path / "set", "train", texts(40), [0, 1] * 20, names=("zebra", "ant"))
    assert load_task(TaskSpec(name=f"hf:{tmp_path}/set")).labels == ("zebra", "ant")


def test_rows_without_a_label_are_left_out_where_classes_are_declared(tmp_path):
    write(tmp_path / "set", "train", texts(45), [0, 1, -1, 0, 1, None, 0, 1, 0] * 5)
    task = load_task(TaskSpec(name=f"hf:{tmp_path}/set"))
    assert sum(len(getattr(task, name)) for name in ("train", "holdout", "validation", "test")) == 35


def test_plain_integers_are_labels_as_they_are_even_minus_one(tmp_path):
    write(tmp_path / "set", "train", texts(40), [-1, 1] * 20, names=None)
    write(tmp_path / "set", "test", texts(8), [-1] * 8, names=None)
    task = load_task(TaskSpec(name=f"hf:{tmp_path}/set"))
    assert task.labels == ("-1", "1") and len(task.test) == 6


def test_a_folder_of_csv_and_json_files_works_by_a_relative_path(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.csv").write_text("text,score\n" + "".join(f"text {i},{i / 10}\n" for i in range(40)))
    (folder / "test.csv").write_text("text,score\n" + "".join(f"test {i},{i / 10}\n" for i in range(9)))
    monkeypatch.chdir(tmp_path)
    task = load_task(TaskSpec(name="hf:./set"))
    assert task.kind == "regression" and len(task.test) == 9


def test_the_hub_reader_and_the_file_reader_agree(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"text_a": f"a {i}", "text_b": f"b {i}", "label": i % 3} for i in range(60)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_task(TaskSpec(name=f"hf:{folder}")).fingerprint == load_task(TaskSpec(name=str(folder))).fingerprint


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"text": ("txt",)}, ["text = 'txt'", "did you mean 'text'?", "columns: 'text', 'label'"]),
        ({"label": "lable"}, ["label = 'lable'", "did you mean 'label'?"]),
        ({"label": "label", "score": "label"}, ["label and score", "give one of them"]),
    ],
)
def test_wrong_columns_are_refused_as_for_files(tmp_path, fields, said):
    write(tmp_path / "set", "train", texts(40), [0, 1] * 20)
    message = problem(f"hf:{tmp_path}/set", **fields)
    assert [part for part in said if part not in message] == [], message


def test_a_split_without_the_label_column_is_refused(tmp_path, monkeypatch):
    train = Dataset.from_dict({"text": texts(9), "label": ["a", "b", "c"] * 3})
    data = {"train": train, "test": train.remove_columns("label")}
    monkeypatch.setattr(hf, "_load", lambda address, spec: data)
    assert "label = 'label': no such column in hf:a/b test" in problem("hf:a/b")


def test_where_two_names_mean_one_split_its_own_name_wins(monkeypatch):
    data = {
        name: Dataset.from_dict({"text": texts(20, name), "label": ["a", "b"] * 10})
        for name in ("validation", "train", "dev")
    }
    monkeypatch.setattr(hf, "_load", lambda address, spec: data)
    assert load_task(TaskSpec(name="hf:a/b")).validation.first[0] == "validation 0"


def test_a_set_without_train_lists_its_splits(tmp_path):
    write(tmp_path / "set", "test", texts(40), [0, 1] * 20)
    assert "no train split; there are: test" in problem(f"hf:{tmp_path}/set")


def test_a_train_split_without_labels_is_refused(tmp_path):
    write(tmp_path / "set", "train", texts(40), [-1] * 40)
    message = problem(f"hf:{tmp_path}/set")
    assert "label = 'label': no row of" in message and "train has a label" in message


def test_nested_columns_are_no_texts(tmp_path):
    (tmp_path / "set").mkdir()
    row = {"text": ["a", "b"], "label": "x"}
    (tmp_path / "set" / "train.jsonl").write_text((json.dumps(row) + "\n") * 20)
    assert "neither text nor a number in rows 1, 2" in problem(f"hf:{tmp_path}/set")


@pytest.mark.parametrize(
    "files, said",
    [
        ({}, "no data files of a known kind"),
        ({"train.pkl": "x"}, "no data files of a known kind"),
        ({"set.py": "raise SystemExit", "train.csv": "text,label\na,b\n"}, "read by a script of its own"),
        ({"train.csv": "text,label\na,b\nc,d,e,f\n"}, "cannot be read (Error tokenizing data. C error: Expected 2"),
        ({"train.md": "# text"}, "need the reader 'harbor'; only these are read: arrow, csv"),
    ],
)
def test_folders_that_cannot_be_read_say_why(tmp_path, files, said):
    (tmp_path / "set").mkdir()
    for name, content in files.items():
        (tmp_path / "set" / name).write_text(content)
    message = problem(f"hf:{tmp_path}/set")
    assert message.startswith(f"task = 'hf:{tmp_path}/set': ") and said in message


def test_a_missing_folder_says_what_is_near(tmp_path):
    (tmp_path / "reviews").mkdir()
    assert f"looked at {tmp_path}/revews; near it: reviews" in problem(f"hf:{tmp_path}/revews")


def test_a_pickle_beside_the_data_is_not_opened(tmp_path):
    write(tmp_path / "set", "train", texts(40), [0, 1] * 20)
    (tmp_path / "set" / "more.pkl").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    assert len(load_task(TaskSpec(name=f"hf:{tmp_path}/set")).validation) == 5
    assert not (tmp_path / "opened").exists()


# Names


@pytest.mark.parametrize(
    "name, path, config, revision",
    [
        ("hf:org/name", "org/name", None, None),
        ("hf:org/name/config", "org/name", "config", None),
        ("hf:org/name@refs/pr/1", "org/name", None, "refs/pr/1"),
        ("hf:org-1/na.me_2/c-3@v1.0", "org-1/na.me_2", "c-3", "v1.0"),
    ],
)
def test_a_name_is_a_data_set_then_a_config_then_a_revision(name, path, config, revision):
    assert hf._parse(name) == hf.Address(f"hf://datasets/{path}", config, revision)


@pytest.mark.parametrize(
    "name", ["hf:", "hf:imdb", "hf:csv", "hf:pandas", "hf:a//b", "hf:a/b/c/d", "hf:a/../b", "hf:a/b@"]
)
def test_other_names_are_refused_with_the_form(name):
    assert problem(name) == (
        f"task = {name!r}: not the name of a data set; the form is "
        "hf:<organisation>/<name>[/<config>][@<revision>], as hf:stanfordnlp/imdb, or hf:/folder"
    )


def test_an_id_is_never_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "org" / "name", "train", texts(40), [0, 1] * 20)
    assert "the Hugging Face hub cannot be reached" in problem("hf:org/name")


# The hub's errors


def response(status):
    return SimpleNamespace(status_code=status, headers={}, request=None)


ERRORS = {
    "unknown": (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), "the hub has no such data set"),
    "bad id": (HFValidationError("Cannot have -- in repo_id"), "the hub has no such data set"),
    "gated": (DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."), "gated: ask for access"),
    "revision": (DatasetNotFoundError("Revision 'r' doesn't exist for dataset"), "no such branch, tag or commit"),
    "no network": (ConnectionError("Couldn't reach 'a/b' on the Hub"), "a local file or folder with the data works"),
    "timeout": (TimeoutError("read"), "hub cannot be reached"),
    "empty": (EmptyDatasetError("doesn't contain any data files"), "no data files of a known kind"),
    "no files": (DataFilesNotFoundError("No (supported) data files"), "no data files of a known kind"),
    "script": (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "script of its own"),
    "generation": (DatasetGenerationError("An error occurred"), "cannot be read (An error occurred)"),
    "config": (ValueError("BuilderConfig 'c' not found. Available: ['one', 'two']"), "known: one, two"),
    "anything": (KeyError("x"), "cannot be read ('x')"),
}


@pytest.mark.parametrize("error, said", ERRORS.values(), ids=ERRORS)
def test_what_the_library_raises_is_told_plainly(monkeypatch, error, said):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    message = problem("hf:a/b/c@r")
    assert said in message and message.partition(" = ")[0] in ("task", "config", "revision")


def test_every_one_of_these_errors_has_a_message_of_its_own():
    address = hf.Address("hf://datasets/a/b", "c", "r")
    said = [hf._explained(error, address, "hf:a/b/c@r").remedy for error, _ in ERRORS.values()]
    assert len(set(said)) == len(ERRORS) - 3  # two ways to be unknown, to be unreachable, and to be empty


def test_an_error_beneath_another_is_found(monkeypatch):
    def fail(*args, **kwargs):
        raise DatasetGenerationError("An error occurred") from ConnectionError("reset by peer")

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    assert "the Hugging Face hub cannot be reached" in problem("hf:a/b")


def test_offline_is_said_plainly():
    assert problem("glue/sst2") == (
        "task = 'glue/sst2': the Hugging Face hub cannot be reached (HF_HUB_OFFLINE is set) and the data set is not "
        "in the cache; a local file or folder with the data works without it"
    )


def test_an_unreachable_hub_without_that_setting_is_put_down_to_the_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert "check the network" in hf._unreachable("hf:a/b").remedy


def test_several_configs_and_none_given(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['en', 'de']")

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    assert problem("hf:a/b") == "config: give one, as hf:<organisation>/<name>/<config>: en, de"


def builder(**fields):
    info = SimpleNamespace(download_size=None, features=None)
    for name, value in fields.pop("info", {}).items():
        setattr(info, name, value)
    fields = {"name": "parquet", "info": info, "download_and_prepare": lambda: pytest.fail("downloaded")} | fields
    return SimpleNamespace(**fields)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"name": "pandas"}, "its files need the reader 'pandas'; only these are read: arrow, csv"),
        ({"info": {"download_size": 3 * 1024**3}}, "give a part of it as a file"),
        ({"info": {"features": {"image": None, "label": None}}}, "text: no column of hf:a/b has a common name"),
    ],
)
def test_what_is_known_beforehand_is_refused_before_any_download(monkeypatch, fields, said):
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *args, **kwargs: builder(**fields))
    assert said in problem("hf:a/b")


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hf, "MOST_ROWS", 39)
    write(tmp_path / "set", "train", texts(40), [0, 1] * 20)
    assert "more than 39 rows; give a part of them as a file" in problem(f"hf:{tmp_path}/set")


def test_the_library_is_not_imported_for_other_tasks():
    code = "import sys; from autopeft.tasks import TASK_SOURCES; TASK_SOURCES.all(); print('datasets' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# GLUE


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A hub that has GLUE alone; gives ``write(task, split, labels, names)``."""
    asked = []

    def load(path, config, revision):
        asked.append((path, config, revision))
        return LOAD(str(tmp_path / "glue" / config))

    def fill(task, split, labels, names=NAMES):
        columns = {name: texts(len(labels), name) for name in glue.TASKS[task].text}
        columns |= {"label": labels, "idx": list(range(len(labels)))}
        features = {name: Value("string") for name in glue.TASKS[task].text}
        features |= {"label": ClassLabel(names=list(names)) if names else Value("float32"), "idx": Value("int32")}
        folder = tmp_path / "glue" / task
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(columns, features=Features(features)).to_parquet(folder / f"{split}.parquet")
        card = "configs:\n- config_name: default\n  data_files:\n" + "".join(
            f"  - split: {path.stem}\n    path: {path.name}\n" for path in sorted(folder.glob("*.parquet"))
        )
        (folder / "README.md").write_text(f"---\n{card}---\n")

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    return SimpleNamespace(write=fill, asked=asked)


@pytest.mark.parametrize("name", [name for name in glue.TASKS if name not in ("stsb", "mnli")])
def test_glue_classifications(mirror, name):
    mirror.write(name, "train", [0, 1] * 20)
    mirror.write(name, "validation", [1, 0] * 5)
    mirror.write(name, "test", [-1] * 10)
    task = load_task(TaskSpec(name=f"glue/{name}"))
    assert mirror.asked == [("hf://datasets/nyu-mll/glue", name, None)]
    assert task.labels == NAMES and task.validation.targets.tolist() == [1, 0] * 5
    assert task.metric == ("matthews" if name == "cola" else "accuracy")
    assert (task.train.second is None) == (name in ("cola", "sst2"))
    assert len(task.test) == 6


def test_mnli_is_validated_on_matched_genres(mirror):
    three = ("entailment", "neutral", "contradiction")
    mirror.write("mnli", "train", [0, 1, 2] * 20, three)
    mirror.write("mnli", "validation_matched", [0, 1, 2, 2, 1, 0, 0, 0, 1], three)
    mirror.write("mnli", "validation_mismatched", [2] * 12, three)
    mirror.write("mnli", "test_matched", [-1] * 9, three)
    task = load_task(TaskSpec(name="glue/mnli"))
    assert task.labels == three and task.validation.targets.tolist() == [0, 1, 2, 2, 1, 0, 0, 0, 1]
    assert len(task.test) == 9 and len(set(task.test.targets.tolist())) == 3


def test_stsb_is_a_regression(mirror):
    mirror.write("stsb", "train", [i / 10 for i in range(40)], None)
    mirror.write("stsb", "validation", [i / 2 for i in range(10)], None)
    mirror.write("stsb", "test", [-1.0] * 10, None)
    task = load_task(TaskSpec(name="glue/stsb"))
    assert (task.kind, task.metric, task.labels) == ("regression", "pearson_spearman", ())
    assert task.validation.targets.tolist() == [i / 2 for i in range(10)] and len(task.test) == 6


def test_another_metric_may_be_asked_for(mirror):
    mirror.write("sst2", "train", [0, 1] * 20)
    assert load_task(TaskSpec(name="glue/sst2", metric="macro_f1")).metric == "macro_f1"


@pytest.mark.parametrize(
    "name, fields, said",
    [
        ("glue/sst", {}, ["GLUE task = 'sst'", "did you mean sst2"]),
        ("glue/", {}, ["GLUE task = ''", "known: cola, mnli"]),
        ("glue/ax", {}, ["GLUE task = 'ax'", "known: cola"]),
        ("glue/rte", {"label": "label", "text": ("a",)}, ["text = ('a',)", "label = 'label'", "leave it out"]),
    ],
)
def test_wrong_glue_tasks_are_refused(name, fields, said):
    message = problem(name, **fields)
    assert [part for part in said if part not in message] == [], message
