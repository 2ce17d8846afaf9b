"""The tasks of GLUE, from the hub.

The labels of GLUE's own test splits are not public. The tasks here have none: what stands for test is cut from train,
and scores compare with the published figures of the validation split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.tasks.base import RawTask, TaskSource
from autopeft.tasks.hf import Address, read_data_set

PREFIX = "glue/"
DATA_SET = "hf://datasets/nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    """One task: its text columns, customary metric, and validation split; the target is ``label`` in all of them."""

    text: tuple[str, ...]
    metric: str = "accuracy"
    validation: str = "validation"


TASKS = {
    "cola": GlueTask(("sentence",), "matthews"),
    "mnli": GlueTask(("premise", "hypothesis"), validation="validation_matched"),
    "mrpc": GlueTask(("sentence1", "sentence2")),
    "qnli": GlueTask(("question", "sentence")),
    "qqp": GlueTask(("question1", "question2")),
    "rte": GlueTask(("sentence1", "sentence2")),
    "sst2": GlueTask(("sentence",)),
    "stsb": GlueTask(("sentence1", "sentence2"), "pearson_spearman"),
    "wnli": GlueTask(("sentence1", "sentence2")),
}


def _read(spec: TaskSpec) -> RawTask:
    name = spec.name.removeprefix(PREFIX)
    if name not in TASKS:
        raise InvalidInput(Problem.unknown("GLUE task", name, TASKS))
    named = {"text": spec.text, "label": spec.label, "score": spec.score}
    given = [Problem(role, value, "GLUE's columns are known; leave it out") for role, value in named.items() if value]
    if given:
        raise InvalidInput(*given)
    task = TASKS[name]
    target = "score" if name == "stsb" else "label"
    columns = spec.model_copy(update={"text": task.text, target: "label"})
    raw = read_data_set(Address(DATA_SET, name), columns, {"train": "train", task.validation: "validation"})
    return replace(raw, metric=task.metric)


TASK_SOURCE = TaskSource(
    summary=f"a task of the GLUE benchmark: {', '.join(TASKS)}",
    example="glue/sst2",
    accepts=lambda name: name.startswith(PREFIX),
    read=_read,
)
