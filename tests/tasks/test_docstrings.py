import json
from collections import Counter

import pytest

from autopeft.messages import TaskSpec
from autopeft.tasks import docstrings, load_task
from autopeft.tasks.base import assemble

SPEC = TaskSpec(name="docstrings")
SPLITS = ("train", "holdout", "validation", "test")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data folder whose cache has been filled by one real reading of the installed packages."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOPEFT_HOME", str(home))
        load_task(SPEC)
    return home


@pytest.fixture
def task(home, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_HOME", str(home))
    return load_task(SPEC)


def test_it_has_eight_classes_and_the_published_sizes(task):
    assert task.labels == tuple(sorted(docstrings.PACKAGES)) and task.metric == "accuracy"
    assert [len(getattr(task, name)) for name in SPLITS] == [2048, 512, 800, 800]
    for name in SPLITS:
        assert len(set(Counter(getattr(task, name).targets.tolist()).values())) == 1, "classes are balanced"


def test_no_text_is_in_two_splits_or_twice_in_one(task):
    texts = [text for name in SPLITS for text in getattr(task, name).first]
    assert len(texts) == len(set(texts))


def test_texts_are_one_line_and_of_the_promised_length(task):
    for text in task.validation.first:
        assert docstrings.SHORTEST <= len(text) <= docstrings.LONGEST and "\n" not in text


def test_rows_are_not_in_blocks_of_a_class(task):
    assert len(set(task.train.targets[:40].tolist())) > 4


def test_a_second_reading_comes_from_the_cache_and_is_the_same(home, task, monkeypatch):
    monkeypatch.setattr(docstrings, "_collect", lambda: pytest.fail("read the packages again"))
    assert load_task(SPEC).fingerprint == task.fingerprint
    (cache,) = (home / "cache").glob("docstrings-*.json")
    assert set(json.loads(cache.read_text())) == set(docstrings.PACKAGES)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two installed packages of a few files each, and an empty data folder."""
    for package, word in (("alpha", "apples"), ("omega", "oranges")):
        folder = tmp_path / "site" / package
        (folder / "tests").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        functions = (
            f'def f{i}():\n    """Count {word} of kind {i:03} in a basket of {i}.\n\n    More."""\n' for i in range(20)
        )
        (folder / "code.py").write_text("\n".join(functions))
        (folder / "shared.py").write_text('def f():\n    """A sentence that both of the packages have got."""\n')
        (folder / "broken.py").write_text("def (:\n")
        (folder / "latin.py").write_bytes(b'def f():\n    """Caf\xe9 au lait and a good many more letters."""\n')
        (folder / "short.py").write_text('def f():\n    """Too short."""\n')
        (folder / "tests" / "test_code.py").write_text(
            'def f():\n    """Test that a sentence in a test is left alone."""\n'
        )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(docstrings, "PACKAGES", {"alpha": "numpy", "omega": "pandas"})
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path / "home"))
    for name, rows in {"TRAIN": 10, "VALIDATION": 5, "TEST": 5}.items():
        monkeypatch.setattr(docstrings, name, rows)


def test_only_first_paragraphs_of_one_package_count_and_unreadable_files_are_skipped(packages):
    task = assemble(docstrings.TASK_SOURCE.read(SPEC), SPEC)
    texts = {text for name in SPLITS for text in getattr(task, name).first}
    assert len(texts) == 40 and all(text.startswith("Count ") and "More" not in text for text in texts)


def test_a_new_version_of_a_package_is_read_anew(packages, monkeypatch):
    docstrings.TASK_SOURCE.read(SPEC)
    monkeypatch.setattr(docstrings.importlib.metadata, "version", lambda name: "999")
    read = []
    monkeypatch.setattr(docstrings, "_collect", lambda: read.append(1) or {"alpha": [], "omega": []})
    docstrings.TASK_SOURCE.read(SPEC)
    assert read
