"""Mistakes in a space file: all of them at once, each at its key, in words that its author knows."""

import pytest
import yaml

from autopeft.errors import InvalidInput
from autopeft.messages import SearchSpec
from autopeft.space import load_document
from autopeft.space.schema import SpaceDocument
from autopeft.submission import make_plan

GOOD = {"schema": 1, "summary": "mine", "modules": {"lora": {"sites": ["attention.query"], "size": [4]}}}
AMOUNT = "give a number of parameters (300000) or a percentage of the base model (0.5%), above 0"


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
        "modules.lora.size.alse: unknown key; did you mean also? known: also, high, low, optional, per, width_over",
        "modules.lora.options.alpha.times_size: must have 1 or more entries",
        "modules.prefix.sites: must have 1 or more entries",
        "modules.prefix.size = 'eight': must be a list, a mapping or 'solved'",
        "modules.adapter.size.1 = 0: must be 1 or more",
        "modules.layer_norm = 3: must be a mapping",
        "layers = 'some': must be 'all', 'mask', 'range', a mapping or a list",
        "training.learning_rate: low (3.0) must be below high (1.0)",
        "training.head_learning_rate.0 = 'fast': must be a number",
        "training.learning_rates: unknown key; did you mean learning_rate? known: batch_size, epochs, "
        "head_learning_rate, learning_rate, warmup, weight_decay",
        "sorce: unknown key; did you mean source? known: allocation, budget, constraints, groups, layers, modules, "
        "quantisation, schema, source, summary, title, training",
        "modules = 'adapter': unknown; did you mean serial_adapter or parallel_adapter or low_rank_adapter? known: "
        "bitfit, ia3, layer_norm, lora, low_rank_adapter, parallel_adapter, prefix, serial_adapter",
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
        ({"size": 8}, "modules.lora.size = 8: must be a list, a mapping or 'solved'"),
        ({"size": []}, "modules.lora.size: must have 1 or more entries"),
        ({"size": [8, 8]}, "modules.lora.size: 8 is there twice"),
        ({"size": ["8"]}, "modules.lora.size.0 = '8': must be a whole number"),
        ({"size": [True]}, "modules.lora.size.0 = True: must be a whole number"),
        ({"size": [1.5]}, "modules.lora.size.0 = 1.5: must be a whole number"),
        ({"size": {}},
         "modules.lora.size: give at least one size, in width_over or also, or a range from low to high"),
        ({"size": {"low": 4}}, "modules.lora.size: a range needs low and high, with low below high"),
        ({"size": {"low": 4, "high": 4}}, "modules.lora.size: a range needs low and high, with low below high"),
        ({"size": {"low": 1, "high": 4, "also": [8]}},
         "modules.lora.size: a range goes without width_over, also and optional; use gate to leave a module out"),
        ({"size": {"also": [1], "per": "head"}},
         "modules.lora.size.per = 'head': must be 'network', 'group', 'layer' or 'placement'"),
        ({"gate": "always"}, "modules.lora.gate = 'always': must be 'network', 'group', 'layer' or 'placement'"),
        ({"gate": "group"}, "modules.lora.gate = 'group': there are no groups; add groups to the space"),
        ({"groups": [1]}, "modules.lora.groups: there are no groups; add groups to the space"),
        ({"groups": [0]}, "modules.lora.groups.0 = 0: must be 1 or more"),
        ({"size": "solved"}, "modules.lora.size = 'solved': solved for what? add budget to the space, or give sizes"),
        ({"size": None}, "modules.lora.size: missing; this module type has a size"),
        ({"type": "ia3"}, "modules.lora.size: this module type has no size; leave it out"),
        ({"type": []}, "modules.lora.type: must have 1 or more entries"),
        ({"type": 3}, "modules.lora.type = 3: must be text or a list"),
        ({"sites": {"choose": ["ffn.in", "ffn.out"]}, "gate": "placement"},
         "modules.lora.gate = 'placement': chooses the sites already; list them without choose"),
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
        ({"rank": 8}, "modules.lora.rank: unknown key; known: gate, groups, options, sites, size, type"),
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
        ({**GOOD, "layers": "masks"}, ["layers = 'masks': must be 'all', 'mask', 'range', a mapping or a list"]),
        ({**GOOD, "layers": {"top": [0]}}, ["layers.top.0 = 0: must be 1 or more"]),
        ({**GOOD, "layers": [1.5]}, ["layers.0 = 1.5: must be a whole number"]),
        ({**GOOD, "layers": [1, 1]}, ["layers: 1 is there twice"]),
        ({**GOOD, "groups": {"pattern": "spindel"}},
         ["groups.pattern = 'spindel': must be 'increasing', 'uniform', 'decreasing', 'spindle', 'bottleneck' or a "
          "list"]),
        ({**GOOD, "groups": {"count": 0}}, ["groups.count = 0: must be 1 or more"]),
        ({**GOOD, "groups": {"tunable": "some"}}, ["groups.tunable = 'some': must be 'all' or 'choose'"]),
        ({**GOOD, "allocation": {"pattern": "uniform"}}, ["allocation: shares out over groups; add groups"]),
        ({**GOOD, "groups": {}, "allocation": {"of": "params", "pattern": "uniform"}},
         ["allocation.of = 'params': shares out the space's budget; add budget, or write size"]),
        ({**GOOD, "budget": 1000}, ["budget = 1000: no module meets it; give at least one the size 'solved'"]),
        ({**GOOD, "budget": 0.5}, [f"budget = 0.5: {AMOUNT}"]),
        ({**GOOD, "budget": "0%"}, [f"budget = '0%': {AMOUNT}"]),
        ({**GOOD, "budget": "0.5%\n"}, [f"budget = '0.5%\\n': {AMOUNT}"]),
        ({**GOOD, "budget": True}, [f"budget = True: {AMOUNT}"]),
        ({**GOOD, "constraints": {"params": {"most": "101%"}}}, [f"constraints.params.most = '101%': {AMOUNT}"]),
        ({**GOOD, "constraints": {"apart": [["lora", "prefx"]]}},
         ["constraints.apart.0 = 'prefx': unknown; known: lora"]),
        ({**GOOD, "constraints": {"apart": [["lora"]]}}, ["constraints.apart.0: must have 2 or more entries"]),
        ({**GOOD, "constraints": {"forbid": [{}]}}, ["constraints.forbid.0: must have 1 or more entries"]),
        ({**GOOD, "quantisation": ["nf8"]}, ["quantisation.0 = 'nf8': must be 'none', 'int8' or 'nf4'"]),
        ({**GOOD, "quantisation": "nf4"}, ["quantisation = 'nf4': must be a list"]),
    ],
)  # fmt: skip
def test_a_mistake_at_the_top(told, document, wanted):
    assert told(document) == wanted


def test_a_module_named_by_a_number_is_unknown(told):
    assert told({**GOOD, "modules": {1: {"sites": ["ffn"]}}}) == ["modules.1: a key must be text"]


def test_no_message_speaks_of_python_or_pydantic(told):
    wrong = [None, 5, "x", [], [None], {}, {"x": 1}, [[1]], [{}], True]
    said = []
    for value in wrong:
        for key in ("sites", "size", "options", "type", "gate", "groups"):
            said += told(with_module(**{key: value, "extra": 1}))
        for key in SpaceDocument.model_json_schema()["properties"]:
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
        (
            {"lora": {"sites": ["attention.query"]}},
            "mine.yaml: modules.lora.size: missing; this module type has a size",
        ),
        (
            {"ia3": {"sites": ["attention.key"], "size": [3]}},
            "mine.yaml: modules.ia3.size: this module type has no size; leave it out",
        ),
        (
            {"lora": {"sites": ["attention.query"], "size": [8, 385]}},
            "mine.yaml: modules.lora.size.1 = 385: beyond the model's width, which is 384",
        ),
        (
            {"lora": {"sites": {"choose": ["attention.query", "ffn"]}, "size": [1, 2]}},
            "mine.yaml: modules.lora.sites.choose.1 = 'ffn': lora cannot go there; it can go to attention.query, ",
        ),
        (
            {"lora": {"sites": ["ffn.in"], "size": [1], "options": {"alpha": [1, "high"]}}},
            "mine.yaml: modules.lora.options.alpha.1 = 'high': must be a finite number of 0 or more",
        ),
        (
            {"lora": {"sites": ["ffn.in"], "size": [1], "options": {"alhpa": [1, 2]}}},
            "mine.yaml: modules.lora.options = 'alhpa': unknown; did you mean alpha?",
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
