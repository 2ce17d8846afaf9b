/** What the form asks for: every field of a request, with where it goes in the body and what it says of itself. */

const FURTHER = {
  memory: ["Memory of training", "8GB"],
  latency: ["Latency of a batch", "20ms"],
  train_time: ["Training time", "90s"],
  bytes: ["Size on disk", "500kB"],
};

// Among the names are some that stand for many, as `upload:ID`.
const PATTERN = /[A-Z]{2}/;

/** Return the groups of fields; `options` is what the service offers. */
export function groups(options) {
  const names = (list) => list.filter(({ name }) => !PATTERN.test(name)).map(({ name, summary }) => ({ value: name, text: name, help: summary }));
  return [
    {
      title: "What to search",
      fields: [
        { key: "name", label: "Name", kind: "text", help: "What to call the search. Empty: its id." },
        { key: "model", label: "Base model", kind: "text", list: names(options.models), help: "A bundled name, or a hub id such as google-bert/bert-base-uncased." },
        { key: "task.name", label: "Task", kind: "task", list: names(options.tasks), help: "A known task, glue/NAME, hf:ORG/DATASET, or a file of your own." },
        { key: "space", label: "Search space", kind: "text", list: names(options.spaces), help: "What may be chosen: a space, or preset:NAME for one design." },
        { key: "budget", label: "Budget", kind: "budget", help: "A hard stop. Baselines count as trials." },
      ],
    },
    {
      title: "Limits",
      fields: [
        { key: "max_params", label: "Most trainable parameters", kind: "text", placeholder: "2% or 300k", help: "Larger candidates are refused before they are trained. Empty: no cap." },
        ...Object.entries(FURTHER).map(([name, [label, example]]) => ({ key: `caps.${name}`, label: `Cap: ${label.toLowerCase()}`, kind: "text", placeholder: example })),
        { key: "objectives", label: "Minimise as well", kind: "choices", choices: Object.entries(FURTHER).map(([value, [text]]) => ({ value, text })), always: ["params", "score"], help: "Parameters and score always count. Others need a sampler for several objectives, such as tpe." },
      ],
    },
    {
      title: "Reading the data",
      folded: true,
      fields: [
        { key: "task.text", label: "Text columns", kind: "words", placeholder: "found by name", help: "One, or two separated by a comma." },
        { key: "task.label", label: "Label column", kind: "text", placeholder: "found by name" },
        { key: "task.score", label: "Score column", kind: "text", help: "Of a number to predict, in place of a label." },
        { key: "task.metric", label: "Metric", kind: "select", choices: [{ value: "", text: "by the task" }, ...options.metrics.map((name) => ({ value: name, text: name }))] },
        { key: "task.max_length", label: "Longest text, in tokens", kind: "number", min: 4, max: 8192 },
      ],
    },
    {
      title: "How to search",
      folded: true,
      fields: [
        { key: "sampler", label: "Sampler", kind: "select", choices: names(options.samplers) },
        { key: "policy", label: "Early stopping", kind: "select", choices: [{ value: "", text: "by the sampler" }, ...names(options.policies)] },
        { key: "executor", label: "Where trials run", kind: "select", choices: [{ value: "ray", text: "ray: several processes" }, { value: "inline", text: "inline: one after another" }] },
        { key: "workers", label: "Workers", kind: "number", min: 1 },
        { key: "confirm", label: "Seeds of the confirmation", kind: "number", min: 0, help: "0 leaves it out." },
        { key: "runners_up", label: "Near misses confirmed too", kind: "number", min: 0, help: "Trials that only just missed the front." },
        { key: "seed", label: "Seed", kind: "number", min: 0 },
        { key: "baselines", label: "Train hand-made baselines first", kind: "check" },
        { key: "quantise", label: "Base model stored as", kind: "select", choices: ["none", "int8", "nf4"].map((value) => ({ value, text: value })) },
        { key: "precision", label: "Precision", kind: "select", choices: ["auto", "float32", "bfloat16"].map((value) => ({ value, text: value })) },
        { key: "proxy.rows", label: "Training rows of a trial", kind: "number", min: 1, help: "Empty: all." },
        { key: "proxy.epochs", label: "Passes over them", kind: "number", min: 0, step: "any" },
        { key: "full.rows", label: "Training rows of a confirmation", kind: "number", min: 1, help: "Empty: all." },
      ],
    },
  ];
}

/** Return what a document holds at a path such as `task.name`. */
export const at = (document, path) => path.split(".").reduce((inner, name) => inner?.[name], document);

/** Return the body of a request: what differs from the defaults, and the whole of any part in which something does. */
export function body(values, defaults) {
  const made = {};
  for (const [path, value] of Object.entries(values)) {
    const [first, second] = path.split(".");
    if (same(value, at(defaults, path))) continue;
    if (second) made[first] = { ...(made[first] ?? defaults[first]), [second]: value };
    else made[first] = value;
  }
  return made;
}

const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

const OTHER_NAMES = { "base model": "model", cap: "caps", task: "task.name", text: "task.text", label: "task.label", score: "task.score", metric: "task.metric", column: "task.text" };

/** Return the key of the field that a problem is about, among those that there are; null where none is. */
export function fieldOf(problem, keys) {
  const whole = String(problem.field).toLowerCase().replaceAll("-", "_");
  const [first, second] = whole.split(/[.:\s]+/);
  const known = OTHER_NAMES[whole] ?? OTHER_NAMES[first] ?? first;
  const tried = [whole, OTHER_NAMES[whole], `${first}.${second}`, `${known}.${second}`, known, OTHER_NAMES[second]];
  return tried.find((name) => keys.includes(name)) ?? keys.find((key) => key.startsWith(`${first}.`)) ?? null;
}
