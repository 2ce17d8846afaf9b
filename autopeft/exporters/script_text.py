"""The parts of the script that :mod:`autopeft.exporters.script` puts together; none of them depends on the recipe.

A script is: what it says of itself, the imports, the recipe's numbers (both made for the recipe), one way to get the
data, the type of the base model, one way to put the modules on, and the training.
"""

FILES = '''
def read(path):
    """Return the rows of a table as dictionaries."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    with open(path, encoding=ENCODING, newline="") as file:
        if suffix == ".jsonl":
            return [json.loads(line) for line in file if line.strip()]
        return list(csv.DictReader(file, delimiter="\\t" if suffix == ".tsv" else ","))


def as_text(value):
    """Return a value as text: 1 and 1.0 are the same."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def encode_targets(values):
    """Return the classes of labels, or numbers, as an array."""
    if not LABELS:
        return np.array([float(value) for value in values]).astype(np.float32)
    return np.array([LABELS.index(re.sub(r"^(-?\\d+)\\.0+$", r"\\1", value.strip())) for value in values])


def read_split(path):
    rows = read(path)
    texts = [[as_text(row[column]) for row in rows] for column in TEXT]
    return texts, encode_targets([as_text(row[TARGET]) for row in rows])


def take(split, rows):
    texts, targets = split
    return [[column[i] for i in rows] for column in texts], targets[rows]


def cut(split, share, most, seed):
    """Cut a share of the rows off, of every class in proportion; the same rows every time."""
    targets = split[1]
    order = np.random.RandomState(seed).permutation(len(targets))
    classes = targets[order] if LABELS else np.zeros(len(targets), int)
    places = {value: np.flatnonzero(classes == value) for value in np.unique(classes)}
    depth = np.empty(len(targets))
    for of_class in places.values():
        depth[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    last = np.isin(np.arange(len(targets)), [of_class[-1] for of_class in places.values()])
    by_depth = order[np.lexsort((depth, last))]  # no class loses its last row while another has more
    size = max(2, min(most, round(len(targets) * share)))
    return take(split, np.sort(by_depth[size:])), take(split, np.sort(by_depth[:size]))


def load_splits():
    """Return train, holdout, validation and test; what there is no file for is cut from train."""
    path = Path(DATA).expanduser()
    files = {"train": path}
    if path.is_dir():
        tables = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
        files = {NAMES[file.stem.lower()]: file for file in tables if file.stem.lower() in NAMES}
    splits = {name: read_split(file) for name, file in files.items()}
    for name, seed in (("test", 20240601), ("validation", 20240602)):
        if name not in splits:
            splits["train"], splits[name] = cut(splits["train"], 0.15, 2000, seed)
    splits["train"], splits["holdout"] = cut(splits["train"], 0.2, 1000, 20240603)
    splits = {name: splits[name] for name in ("train", "holdout", "validation", "test")}
    digest = hashlib.sha256(json.dumps(["classification" if LABELS else "regression", LABELS]).encode())
    for name, (texts, targets) in splits.items():
        digest.update(json.dumps([name, texts[0], texts[1] if len(texts) > 1 else None, targets.tolist()]).encode())
    if digest.hexdigest()[:16] != TASK_HASH:
        print("warning: these are not the data that the architecture was found on", file=sys.stderr)
    return splits
'''

AUTOPEFT_TASK = '''
def load_splits():
    """Return train, holdout, validation and test, as texts by column and targets."""
    task = load_task(TaskSpec(**TASK))
    if task.fingerprint != TASK_HASH:
        print("warning: these are not the data that the architecture was found on", file=sys.stderr)
    parts = {"train": task.train, **{name: task.part(name) for name in ("holdout", "validation", "test")}}
    return {
        name: ([list(texts) for texts in (part.first, part.second) if texts is not None], part.targets)
        for name, part in parts.items()
    }
'''

DTYPE = '''
def pick_dtype():
    """Return the type of the frozen base model, by the rule of `autopeft train`; what trains is float32."""
    if PRECISION != "auto":
        return getattr(torch, PRECISION)
    if torch.cuda.is_available():
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        faster = torch.cpu.get_capabilities().get("amx_bf16")
    return torch.bfloat16 if faster else torch.float32
'''

LORA = '''
def attach(model):
    """Put LoRA on the model; return it and its parameters by learning rate."""
    chance = torch.Generator().manual_seed(SEED)
    renew_head(model, chance)
    ranks = {path: rank for path, rank, _, _ in MODULES}
    alphas = {path: alpha for path, _, alpha, _ in MODULES}
    config = LoraConfig(
        task_type="SEQ_CLS",
        target_modules=list(ranks),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        modules_to_save=HEAD,
        fan_in_fan_out=FAN_IN_FAN_OUT,
    )
    model = get_peft_model(model, config)
    by_rate = {HEAD_RATE: head_of(model)}
    for path, _, _, rate in MODULES:
        layer = model.base_model.model.get_submodule(path)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        fresh = torch.nn.init.kaiming_uniform_(torch.empty(down.shape), a=math.sqrt(5), generator=chance)
        down.data = fresh.to(down.device)
        by_rate.setdefault(rate, []).extend([down, up])
    return model, by_rate
'''

IA3 = '''
def attach(model):
    """Put (IA)^3 on the model; return it and its parameters by learning rate."""
    renew_head(model, torch.Generator().manual_seed(SEED))
    config = IA3Config(
        task_type="SEQ_CLS",
        target_modules=[path for path, _, _ in MODULES],
        feedforward_modules=[path for path, scales_input, _ in MODULES if scales_input],
        modules_to_save=HEAD,
        fan_in_fan_out=FAN_IN_FAN_OUT,
    )
    model = get_peft_model(model, config)
    by_rate = {HEAD_RATE: head_of(model)}
    for path, _, rate in MODULES:
        by_rate.setdefault(rate, []).append(model.base_model.model.get_submodule(path).ia3_l["default"])
    return model, by_rate
'''

PEFT_HEAD = '''
def renew_head(model, chance):
    """Start the task head anew, in float32, whatever the base model's type."""
    for name, parameter in model.named_parameters():
        if name.partition(".")[0] in HEAD:
            fresh = torch.zeros(parameter.shape)
            if fresh.dim() > 1:
                fresh.normal_(0, getattr(model.config, "initializer_range", 0.02), generator=chance)
            elif name.endswith(".weight"):  # the gain of a norm
                fresh.fill_(1)
            parameter.data = fresh.to(parameter.device)
    for name in HEAD:
        model.get_submodule(name).register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))


def head_of(model):
    return [p for name, p in model.named_parameters() if ".modules_to_save.default." in name]


def save(model):
    model.save_pretrained(OUT)
'''

AUTOPEFT_MODULES = '''
def attach(model):
    """Put the modules on the model; return it and its parameters by learning rate."""
    architecture = Architecture.from_dict(ARCHITECTURE)
    attachment = Attachment(model, architecture, ModelGeometry.from_config(model.config.to_dict()), SEED)
    model.add_module("autopeft", attachment.modules)  # so that the trainer knows their parameters
    by_rate = {HEAD_RATE: list(attachment.head.values())}
    for key, rate in MODULES:
        by_rate.setdefault(rate, []).extend(attachment.modules[key].parameters())
    return model, by_rate


def save(model):
    OUT.mkdir(parents=True, exist_ok=True)
    trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    save_file(trained, OUT / "trained.safetensors")
'''

TRAINING = '''
class Batches:
    """Row numbers of one epoch's batches: rows of like length together, lengths in the same order at every seed."""

    def __init__(self, lengths):
        self.lengths, self.chance, self.places = lengths, np.random.default_rng(SEED), np.random.default_rng(0)

    def __len__(self):
        return math.ceil(len(self.lengths) / BATCH_SIZE)

    def __iter__(self):
        order, window, batches = self.chance.permutation(len(self.lengths)), 16 * BATCH_SIZE, []
        for start in range(0, len(order), window):
            part = sorted(order[start : start + window].tolist(), key=self.lengths.__getitem__)
            batches += [part[i : i + BATCH_SIZE] for i in range(0, len(part), BATCH_SIZE)]
        return iter([batches[i] for i in self.places.permutation(len(batches))])


class RecipeTrainer(Trainer):
    """Takes its batches from :class:`Batches`, and leaves dropout off inside the frozen model."""

    def get_train_dataloader(self):
        lengths = [len(row["input_ids"]) for row in self.train_dataset]
        return DataLoader(self.train_dataset, batch_sampler=Batches(lengths), collate_fn=self.data_collator)

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        model.eval()
        targets = inputs.pop("labels")
        logits = model(**inputs).logits.float()
        loss = F.cross_entropy(logits, targets) if LABELS else F.mse_loss(logits[:, 0], targets)
        return (loss, {"logits": logits}) if return_outputs else loss


class BestStep(TrainerCallback):
    """Evaluates at the recipe's steps, and leaves the model as it was at the best of them."""

    def __init__(self, steps):
        shares = [(i + 1) / EVALUATIONS for i in range(EVALUATIONS)] + RUNGS
        self.steps = {max(1, round(share * steps)) for share in shares}
        self.score, self.kept = -math.inf, {}

    def on_step_end(self, args, state, control, **_):
        control.should_evaluate = state.global_step in self.steps

    def on_evaluate(self, args, state, control, metrics, model, **_):
        if metrics["eval_score"] > self.score:
            self.score = metrics["eval_score"]
            self.kept = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def on_train_end(self, args, state, control, model, **_):
        for name, parameter in model.named_parameters():
            if name in self.kept:
                parameter.data.copy_(self.kept[name])


def tokenise(split, tokenizer):
    """Return a dictionary of every row; no text becomes a special token."""
    texts, targets = split
    options = {"split_special_tokens": True, "return_special_tokens_mask": True}
    encoded = tokenizer(*texts, truncation=True, max_length=MAX_LENGTH, **options)
    named = [token for token in tokenizer.all_special_tokens if len(token) > 1 and token != tokenizer.unk_token]
    special = set(tokenizer.convert_tokens_to_ids(named))
    rows = []
    for i, target in enumerate(targets.tolist()):
        own = zip(encoded["input_ids"][i], encoded["special_tokens_mask"][i])
        kept = [place for place, (token, mask) in enumerate(own) if mask or token not in special]
        row = {"input_ids": [encoded["input_ids"][i][k] for k in kept] or [tokenizer.pad_token_id], "labels": target}
        if len(texts) == 2 and "token_type_ids" in encoded:
            row["token_type_ids"] = [encoded["token_type_ids"][i][k] for k in kept]
        rows.append(row)
    return rows


def subset(rows, most):
    """Return at most so many rows, the same ones every time."""
    if most is None or most >= len(rows):
        return rows
    return [rows[i] for i in sorted(np.random.default_rng(0).permutation(len(rows))[:most])]


def schedule(steps):
    """Return the factor on the learning rates by step: up in a line, and down in a line."""
    rising = max(1, round(steps * WARMUP))
    return lambda step: (step + 1) / rising if step < rising else max(0.0, (steps - step) / max(1, steps - rising))


def score(prediction):
    outputs = prediction.predictions
    return {"score": metric(prediction.label_ids, outputs.argmax(axis=1) if LABELS else outputs[:, 0])}


def main():
    tokenizer = AutoTokenizer.from_pretrained(MODEL, revision=REVISION)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    splits = {name: tokenise(split, tokenizer) for name, split in load_splits().items()}
    train, splits["holdout"] = subset(splits["train"], ROWS), subset(splits["holdout"], HELD_OUT_ROWS)
    if not LABELS:  # the model learns numbers of mean 0 and deviation 1
        targets = torch.tensor([row["labels"] for row in splits["train"]])
        train = [{**row, "labels": (row["labels"] - targets.mean().item()) / targets.std().item()} for row in train]

    model, by_rate = attach(load_model(tokenizer))
    steps = max(1, math.ceil(EPOCHS * math.ceil(len(train) / BATCH_SIZE)))
    groups = [{"params": parameters, "lr": rate} for rate, parameters in by_rate.items()]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    arguments = TrainingArguments(
        output_dir=str(OUT),
        max_steps=steps,
        max_grad_norm=GRADIENT_CLIP,
        per_device_eval_batch_size=64,
        seed=SEED,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = RecipeTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=splits["holdout"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=score,
        callbacks=[BestStep(steps)],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(steps))),
    )
    trainer.train()
    save(model)
    tokenizer.save_pretrained(OUT)
    for name in ("holdout", "validation", "test"):
        print(name, METRIC, trainer.predict(splits[name]).metrics["test_score"])


if __name__ == "__main__":
    main()
'''
