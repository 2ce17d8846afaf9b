"""Mistakes in a space file: all of them at once, each at its key, in words that its author knows."""

import pytest
import yaml
from transformers import BertConfig

from autopeft.errors import InvalidInput
from autopeft.geometry import ModelGeometry
from autopeft.messages import SearchSpec
from autopeft.space import load_document
from autopeft.submission import make_plan

GOOD = {"schema": 1, "summary": "mine", "modules": {"lora": {"sites": ["attention.query"], "size": [4]}}}
BERT = ModelGeometry.from_config(BertConfig().to_dict())


@pytest.fixture
def told(tmp_path):
    """``told(text or document)``: what is said about such a file, line by line."""

    def read(content):
        path = tmp_path / "mine.yaml"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        with pytest.raises(InvalidInput) as caught:
            load_document(str(path))
        return [str(problem).removeprefix("mine.yaml: ") for problem in caught.value.problems]

    return read


def with_module(**changes):
    return {**GOOD, "modules": {"lora": {**GOOD["modules"]["lora"], **changes}}}


def test_all_mistakes_are_told_at_once_in_the_order_of_the_keys_and_names_last(told):
    assert told(
        """
        schema: 2
        summary: [1]
        sorce: x
        modules:
          lora:
            sites: {chose: [attention.query]}
            size: {width_over: [0], alse: [1]}
            options: {alpha: {times_size: []}}
          prefix: {sites: [], size: eight}
          adapter: {sites: [ffnn], size: [8, 0]}
          layer_norm: 3
        layers: some
        training:
          learning_rate: {low: 3, high: 1}
          head_learning_rate: [fast]
          learning_rates: 3
        """
    ) == [
        "schema = 2: must be 1",
        "summary: must be text",
        "modules.lora.sites.choose: missing",
        "modules.lora.sites.chose: unknown key; did you mean choose? known: choose",
        "modules.lora.size.width_over.0 = 0: must be 1 or more",
        "modules.lora.size.alse: unknown key; did you mean also? known: also, optional, width_over",
        "modules.lora.options.alpha.times_size: must have 1 or more entries",
        "modules.prefix.sites: must have 1 or more entries",
        "modules.prefix.size = 'eight': must be a list or a mapping",
        "modules.adapter.size.1 = 0: must be 1 or more",
        "modules.layer_norm = 3: must be a mapping",
        "layers = 'some': must be 'all', 'mask' or 'range'",
        "training.learning_rate: low (3.0) must be below high (1.0)",
        "training.head_learning_rate.0 = 'fast': must be a number",
        "training.learning_rates: unknown key; did you mean learning_rate? known: head_learning_rate, learning_rate",
        "sorce: unknown key; did you mean source? known: layers, modules, schema, source, summary, training",
        "modules = 'adapter': unknown; did you mean serial_adapter or parallel_adapter? known: bitfit, ia3, "
        "layer_norm, lora, parallel_adapter, prefix, serial_adapter",
        "modules.adapter.sites = 'ffnn': unknown; did you mean ffn or ffn.in or ffn.hidden? known: attention, "
        "attention.key, "
        "attention.kv, attention.output, attention.qkv, attention.query, attention.value, cross_attention, "
        "cross_attention.key, cross_attention.kv, cross_attention.output, cross_attention.query, "
        "cross_attention.value, ffn, ffn.gate, ffn.hidden, ffn.in, ffn.out, norm.attention, norm.cross_attention, "
        "norm.ffn, norm.final",
    ]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"sites": "ffn"}, "modules.lora.sites = 'ffn': must be a list or a mapping"),
        ({"sites": None}, "modules.lora.sites: must be a list or a mapping"),
        ({"sites": ["ffn.in", "ffn.in"]}, "modules.lora.sites: 'ffn.in' is there twice"),
        ({"sites": {"choose": ["ffn.in"]}}, "modules.lora.sites.choose: must have 2 or more entries"),
        ({"sites": [3]}, "modules.lora.sites.0 = 3: must be text"),
        ({"size": 8}, "modules.lora.size = 8: must be a list or a mapping"),
        ({"size": []}, "modules.lora.size: must have 1 or more entries"),
        ({"size": [8, 8]}, "modules.lora.size: 8 is there twice"),
        ({"size": ["8"]}, "modules.lora.size.0 = '8': must be a whole number"),
        ({"size": [True]}, "modules.lora.size.0 = True: must be a whole number"),
        ({"size": [1.5]}, "modules.lora.size.0 = 1.5: must be a whole number"),
        ({"size": {}}, "modules.lora.size: give at least one size, in width_over or also"),
        ({"size": {"also": [1], "optional": "maybe"}}, "modules.lora.size.optional = 'maybe': must be true or false"),
        ({"options": []}, "modules.lora.options: must be a mapping"),
        ({"options": {"alpha": []}}, "modules.lora.options.alpha: must have 1 or more entries"),
        ({"options": {"alpha": None}}, "modules.lora.options.alpha: must be true or false, a number, text, a list or "
         "a mapping"),
        ({"options": {"alpha": [1, [2]]}}, "modules.lora.options.alpha.1: must be true or false, a number or text"),
        ({"options": {"alpha": {"times_size": [0]}}},
         "modules.lora.options.alpha.times_size.0 = 0: must be above 0.0"),
        ({"options": {"alpha": {"times_size": ["x"]}}},
         "modules.lora.options.alpha.times_size.0 = 'x': must be a number"),
        ({"rank": 8}, "modules.lora.rank: unknown key; known: options, sites, size"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_module_is_told_once_and_names_the_branch_that_was_meant(told, changes, wanted):
    assert told(with_module(**changes)) == [wanted]


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        ({"low": 0, "high": 1}, ["training.learning_rate.low = 0: must be above 0.0"]),
        ({"low": 1e-3, "high": 1e-3}, ["training.learning_rate: low (0.001) must be below high (0.001)"]),
        ({"low": 1e-3}, ["training.learning_rate.high: missing"]),
        ({"low": 1, "high": float("inf")}, ["training.learning_rate.high = inf: must be a finite number"]),
        ([], ["training.learning_rate: must have 1 or more entries"]),
        ([-1.0, 0.1], ["training.learning_rate.0 = -1.0: must be above 0.0"]),
        ("fast", ["training.learning_rate = 'fast': must be a mapping or a list"]),
    ],
)
def test_a_mistake_in_a_learning_rate(told, rate, wanted):
    assert told({**GOOD, "training": {"learning_rate": rate}}) == wanted


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({}, ["schema: missing", "summary: missing", "modules: missing"]),
        ({**GOOD, "modules": {}}, ["modules: must have 1 or more entries"]),
        ({**GOOD, "modules": [1]}, ["modules: must be a mapping"]),
        ({**GOOD, "modules": None}, ["modules: must be a mapping"]),
        ({**GOOD, "modules": {"lora": None}}, ["modules.lora: must be a mapping"]),
        ({**GOOD, "training": None}, ["training: must be a mapping"]),
        ({**GOOD, "layers": "masks"}, ["layers = 'masks': must be 'all', 'mask' or 'range'"]),
    ],
)
def test_a_mistake_at_the_top(told, document, wanted):
    assert told(document) == wanted


def test_a_module_named_by_a_number_is_unknown(told):
    assert told({**GOOD, "modules": {1: {"sites": ["ffn"]}}})[0] == "modules.1: a key must be text"


def test_no_message_speaks_of_python_or_pydantic(told):
    wrong = [None, 5, "x", [], [None], {}, {"x": 1}, [[1]], [{}], True]
    said = []
    for value in wrong:
        for key in ("sites", "size", "options"):
            said += told(with_module(**{key: value, "extra": 1}))
        for key in ("schema", "summary", "source", "modules", "layers", "training"):
            said += told({**GOOD, key: value, "extra": 1})
    for line in said:
        for word in ("Input", "should", "valid", "dict", "instance", "constrained", "union", "str]", "Error", "None"):
            assert word not in line, line


def test_an_exponent_without_a_point_is_a_number(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: 1\nsummary: mine\ntraining: {learning_rate: [1e-4, 1E-3]}\n"
        "modules:\n  prefix: {sites: [attention.kv], size: [1], options: {std: 2e-2}}\n"
    )
    document = load_document(str(path))
    assert document.modules["prefix"].options == {"std": 0.02}
    assert document.training.learning_rate == [1e-4, 1e-3]


@pytest.mark.parametrize(
    ("modules", "wanted"),
    [
        ({"lora": {"sites": ["attention.query"]}}, "lora.size = 0: must be 1 or more"),
        ({"ia3": {"sites": ["attention.key"], "size": [3]}}, "ia3.size = 3: has no size; leave it out"),
        (
            {"lora": {"sites": {"choose": ["attention.query", "ffn"]}, "size": [1, 2]}},
            "lora.site = 'ffn': cannot go there; it can go to attention.query, ",
        ),
        (
            {"lora": {"sites": ["ffn.in"], "size": [1], "options": {"alpha": [1, "high"]}}},
            "lora.options.alpha = 'high': must be a finite float",
        ),
        (
            {"lora": {"sites": ["ffn.in"], "size": [1], "options": {"alhpa": [1, 2]}}},
            "lora.options = 'alhpa': unknown; did you mean alpha?",
        ),
    ],
)
def test_what_does_not_fit_a_module_type_is_refused_before_the_search_wherever_in_the_space_it_is(
    tmp_path, modules, wanted
):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "modules": modules}))
    with pytest.raises(InvalidInput) as caught:
        make_plan(SearchSpec(model="minilm", space=str(path)))
    assert wanted in str(caught.value)
