"""Models and tasks of one machine on another, without Ray: what is packed, found, and written."""

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import AutopeftError
from autopeft.executors.shipping import find, pack, pieces, readdress, unpack
from autopeft.messages import Fidelity, TaskSpec, TrialRequest


def request(model, task):
    architecture = Architecture((Placement("lora", "attention.query", 0, 2),))
    return TrialRequest(
        key="r", model=str(model), task=TaskSpec(name=str(task)), architecture=architecture.to_dict(),
        fidelity=Fidelity(rows=64, epochs=1),
    )  # fmt: skip


def content(parcel):
    sent = {}
    for name, piece in pieces(parcel):
        sent.setdefault(name, []).append(piece)
    return sent


def receive(parcel, kept):
    return unpack(parcel, content(parcel), kept)


def test_bundled_and_hub_models_and_tasks_found_by_name_are_not_packed():
    for model in ("minilm", "BAAI/bge-small-en"):
        for task in ("docstrings", "glue/sst2", "hf:stanfordnlp/imdb"):
            assert pack(request(model, task)) == ()


def test_a_model_is_its_config_weights_and_tokeniser_and_nothing_that_runs(tiny_model, tiny_task, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("pytorch_model.bin", "modeling.py"):
        (folder / name).write_bytes(b"code")
    model, task = pack(request(folder, tiny_task))
    names = {file.name for file in model.files}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"pytorch_model.bin", "modeling.py"}
    assert [file.name for file in task.files] == ["rows.csv"] and not task.folder


def test_a_folder_of_tables_is_packed_without_its_other_files(tiny_model, tiny_task, tmp_path):
    for name in ("train.csv", "test.csv", "notes.md"):
        (tmp_path / name).write_bytes(tiny_task.read_bytes())
    task = pack(request("minilm", tmp_path))[0]
    assert task.folder and [file.name for file in task.files] == ["test.csv", "train.csv"]


def test_a_machine_with_the_same_content_under_the_same_path_needs_nothing(tiny_model, tiny_task, tmp_path):
    asked = request(tiny_model, tiny_task)
    assert [find(parcel, asked, tmp_path) for parcel in pack(asked)] == [str(tiny_model), str(tiny_task)]


def test_other_content_under_the_same_path_is_not_mistaken_for_it(tiny_task, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(tiny_task.read_bytes())
    asked = request("minilm", path)
    (parcel,) = pack(asked)
    sent = content(parcel)
    path.write_text("text,label\nother,rows\n")
    assert find(parcel, asked, tmp_path / "kept") is None
    there = unpack(parcel, sent, tmp_path / "kept")
    assert Path(there).read_bytes() == tiny_task.read_bytes()
    assert find(parcel, asked, tmp_path / "kept") == there


def test_a_request_is_readdressed_to_what_arrived(tiny_model, tiny_task, tmp_path):
    asked = request(tiny_model, tiny_task)
    there = readdress(asked, {parcel.role: receive(parcel, tmp_path) for parcel in pack(asked)})
    assert Path(there.model).is_relative_to(tmp_path) and Path(there.task.name).is_relative_to(tmp_path)
    assert [parcel.key for parcel in pack(there)] == [parcel.key for parcel in pack(asked)]
    assert there.model_copy(update={"model": asked.model, "task": asked.task}) == asked


def test_what_is_damaged_on_its_way_is_refused_and_leaves_nothing_to_be_found(tiny_task, tmp_path):
    asked = request("minilm", tiny_task)
    (parcel,) = pack(asked)
    with pytest.raises(AutopeftError, match=r"rows\.csv changed"):
        unpack(parcel, {"rows.csv": [b"half"]}, tmp_path)
    assert not (tmp_path / parcel.key).exists()
    assert Path(receive(parcel, tmp_path)).read_bytes() == tiny_task.read_bytes()


def test_what_a_killed_process_left_half_written_is_written_again(tiny_task, tmp_path):
    (parcel,) = pack(request("minilm", tiny_task))
    left = tmp_path / f"{parcel.key}.partial" / "rows.csv"
    left.parent.mkdir()
    left.write_text("half")
    assert Path(receive(parcel, tmp_path)).read_bytes() == tiny_task.read_bytes()
    assert not left.exists()


def _write_and_tell(parcel, kept, writers, gate):
    def told():
        writers.put(os.getpid())
        yield from content(parcel)["rows.csv"]

    gate.wait()
    unpack(parcel, {"rows.csv": told()}, kept)


def test_of_several_processes_one_writes(tiny_task, tmp_path):
    (parcel,) = pack(request("minilm", tiny_task))
    context = multiprocessing.get_context("fork")
    writers, gate = context.Queue(), context.Barrier(4)
    arguments = (parcel, tmp_path, writers, gate)
    processes = [context.Process(target=_write_and_tell, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert isinstance(writers.get(timeout=5), int) and writers.empty()
