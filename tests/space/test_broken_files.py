"""Files that are wrong in one way each: refused at once, at the path in the file, in words that say what to write."""

import sys
from contextlib import contextmanager

import pytest

from autopeft.errors import InvalidInput
from autopeft.space import load_space
from tests.space.making import BERT_PARAMETERS, bert

BERT = bert()
HEAD = "schema: 1\nsummary: mine\n"
LORA = "  lora: {sites: [attention.query], size: [4]}\n"
GOOD = f"{HEAD}modules:\n{LORA}"
SOLVED = f"{HEAD}modules:\n  lora: {{sites: [attention.query], size: solved}}\n"
LONG = "[" * 500_000 + "]" * 500_000


def lora(entry):
    return f"{HEAD}modules:\n  lora: {{{entry}}}\n"


# What is wrong: the file, and what is said of it, from the path on.
BROKEN = {
    "typo in a top key": (GOOD + "layer: mask\n", "layer: unknown key; did you mean layers?"),
    "typo in a module's key": (
        lora("site: [ffn.in], sites: [ffn.in], size: [4]"),
        "modules.lora.site: unknown key; did you mean sites?",
    ),
    "typo in a module type": (
        f"{HEAD}modules:\n  lroa: {{sites: [ffn.in], size: [4]}}\n",
        "modules = 'lroa': unknown; did you mean lora?",
    ),
    "typo in a type": (lora("type: [lora, ai3], sites: [ffn.in], size: [4]"), "modules.lora.type = 'ai3': unknown; "),
    "typo in a site": (lora("sites: [atention.query], size: [4]"), "modules.lora.sites = 'atention.query': unknown; "),
    "typo in a chosen site": (
        lora("sites: {choose: [ffn.in, fnn.out]}, size: [4]"),
        "modules.lora.sites.choose = 'fnn.out': unknown; did you mean ffn.out",
    ),
    "typo in an option": (
        lora("sites: [ffn.in], size: [4], options: {alfa: 3}"),
        "modules.lora.options = 'alfa': unknown; did you mean alpha?",
    ),
    "typo in a pattern": (GOOD + "groups: {pattern: spindel}\n", "groups.pattern = 'spindel': must be 'increasing', "),
    "typo in a dimension": (
        GOOD + "constraints: {forbid: [{lora.rank: 4}]}\n",
        "constraints.forbid.0 = 'lora.rank': unknown; ",
    ),
    "a value never chosen": (
        GOOD + "constraints: {forbid: [{lora.size: 4}, {lora.size: [4, 8]}]}\n",
        "constraints.forbid.1.lora.size = 8: never chosen; there is 4",
    ),
    "unknown module kept apart": (
        GOOD + "constraints: {apart: [[lora, prefix]]}\n",
        "constraints.apart.0 = 'prefix': unknown; known: lora",
    ),
    "text for a size": (lora("sites: [ffn.in], size: [four]"), "modules.lora.size.0 = 'four': must be a whole number"),
    "a fraction of a size": (
        lora("sites: [ffn.in], size: [0.5]"),
        "modules.lora.size.0 = 0.5: must be a whole number",
    ),
    "size nought": (lora("sites: [ffn.in], size: [0]"), "modules.lora.size.0 = 0: must be 1 or more"),
    "a number for a list": (lora("sites: [ffn.in], size: 4"), "modules.lora.size = 4: must be a list, a mapping or "),
    "a list for a mapping": (HEAD + "modules: [lora]\n", "modules: must be a mapping"),
    "a date for a summary": ("schema: 1\nsummary: 2026-11-21\nmodules:\n" + LORA, "summary: must be text"),
    "another schema": (GOOD.replace("schema: 1", "schema: 2"), "schema = 2: must be 1"),
    "no schema": (GOOD.replace("schema: 1\n", ""), "schema: missing"),
    "no modules": (HEAD, "modules: missing"),
    "no module": (HEAD + "modules: {}\n", "modules: must have 1 or more entries"),
    "no sites": (lora("sites: [], size: [4]"), "modules.lora.sites: must have 1 or more entries"),
    "no sizes": (lora("sites: [ffn.in], size: []"), "modules.lora.size: must have 1 or more entries"),
    "no values of an option": (
        lora("sites: [ffn.in], size: [4], options: {alpha: []}"),
        "modules.lora.options.alpha: must have 1 or more entries",
    ),
    "one site to choose from": (
        lora("sites: {choose: [ffn.in]}, size: [4]"),
        "modules.lora.sites.choose: must have 2 or more entries",
    ),
    "a size twice": (lora("sites: [ffn.in], size: [4, 4]"), "modules.lora.size: 4 is there twice"),
    "a range upside down": (
        lora("sites: [ffn.in], size: {low: 8, high: 4}"),
        "modules.lora.size: a range needs low and high, with low below high",
    ),
    "a rate upside down": (
        GOOD + "training: {learning_rate: {low: 1e-2, high: 1e-4}}\n",
        "training.learning_rate: low (0.01) must be below high (0.0001)",
    ),
    "no size of a type that has one": (lora("sites: [ffn.in]"), "modules.lora.size: missing; this module type has a "),
    "a size of a type that has none": (
        f"{HEAD}modules:\n  ia3: {{sites: [ffn.hidden], size: [4]}}\n",
        "modules.ia3.size: this module type has no size; leave it out",
    ),
    "a type where it cannot go": (
        lora("sites: [ffn.in, ffn], size: [4]"),
        "modules.lora.sites.1 = 'ffn': lora cannot go there; it can go to attention.query, ",
    ),
    "a site that the model lacks": (
        lora("sites: [attention.qkv], size: [4]"),
        "modules.lora.sites = 'attention.qkv': unknown; did you mean attention.",
    ),
    "a size beyond the width": (
        lora("sites: [ffn.in], size: [4, 769]"),
        "modules.lora.size.1 = 769: beyond the model's width, which is 768",
    ),
    "another size beyond the width": (
        lora("sites: [ffn.in], size: {width_over: [2], also: [1000]}"),
        "modules.lora.size.also.0 = 1000: beyond the model's width, which is 768",
    ),
    "a range beyond the width": (
        lora("sites: [ffn.in], size: {low: 1, high: 800}"),
        "modules.lora.size.high = 800: beyond the model's width, which is 768",
    ),
    "groups beyond the layers": (
        GOOD + "groups: {count: [2, 13]}\n",
        "groups.count = 13: 12 layers take part, which make 12 groups at most",
    ),
    "a group beyond the groups": (
        lora("sites: [ffn.in], size: [4], groups: [1, 5]") + "groups: {count: 4}\n",
        "modules.lora.groups.1 = 5: there are 4 groups",
    ),
    "a gate for groups without groups": (
        lora("sites: [ffn.in], size: [4], gate: group"),
        "modules.lora.gate = 'group': there are no groups; add groups to the space",
    ),
    "layers beyond the model's": (GOOD + "layers: [0, 12]\n", "layers.1 = 12: the model has layers 0 to 11, "),
    "more last layers than there are": (GOOD + "layers: {top: [13]}\n", "layers.top.0 = 13: the model has 12 layers"),
    "a budget that nothing meets": (
        GOOD + "budget: 1%\n",
        "budget = '1%': no module meets it; give at least one the size 'solved'",
    ),
    "sizes solved for nothing": (SOLVED, "modules.lora.size = 'solved': solved for what? add budget to the space, "),
    "a budget in words": (SOLVED + "budget: small\n", "budget = 'small': give a number of parameters (300000) or a "),
    "a share without its sign": (SOLVED + "budget: 0.5\n", "budget = 0.5: give a number of parameters (300000) or a "),
    "bounds upside down": (
        GOOD + "constraints: {params: {least: 2%, most: 1%}}\n",
        "constraints.params.least = '2%': above most, which is 1%",
    ),
    "the same module at the same site": (
        GOOD + "  again: {type: lora, sites: [attention.query], size: [8]}\n",
        "modules.again.sites = 'attention.query': puts lora where modules.lora puts it already; ",
    ),
    "a type written null": (
        f"{HEAD}modules:\n  mine: {{type: null, sites: [ffn.in], size: [4]}}\n",
        "modules = 'mine': unknown; ",
    ),
    "a number for a module's name": (f"{HEAD}modules:\n  1: {{sites: [ffn.in]}}\n", "modules.1: a key must be text"),
    "five thousand unknown keys": (
        GOOD + "".join(f"key{i}: 1\n" for i in range(5000)),
        "key0: unknown key; known: allocation, ",
    ),
    "a thousand modules at one site": (
        HEAD + "modules:\n" + "".join(f"  m{i}: {{type: lora, sites: [ffn.in], size: [1]}}\n" for i in range(1000)),
        "modules.m1.sites = 'ffn.in': puts lora where modules.m0 puts it already; ",
    ),
    "nested lists for a site": (lora(f"sites: {'[' * 40}{']' * 40}, size: [4]"), "modules.lora.sites.0: must be text"),
}

# Of what is not YAML, or not YAML for people, the line and column are named.
UNREADABLE = {
    "an alias": (
        f"{HEAD}modules:\n  lora: &entry {{sites: [ffn.in], size: [4]}}\n  ia3: *entry\n",
        "aliases are not allowed, line 5, column 8",
    ),
    "a merged alias": (
        f"{HEAD}modules:\n  lora: &entry {{sites: [ffn.in], size: [4]}}\n  ia3:\n    <<: *entry\n",
        "aliases are not allowed, line 6, column 9",
    ),
    "a bomb of aliases": (
        "a: &a [1, 1]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n",
        "aliases are not allowed, line 2, column 8",
    ),
    "an anchor on itself": ("modules: &self {lora: *self}\n", "aliases are not allowed, line 1, column 23"),
    "a tab": (
        f"{HEAD}modules:\n\tlora: {{}}\n",
        "found character '\\t' that cannot start any token, line 4, column 1",
    ),
    "a key twice": (GOOD + "summary: again\n", "the key 'summary' is there twice, line 5, column 1"),
    "a bracket left open": (GOOD + "layers: [0, 1\n", "expected ',' or ']', but got '<stream end>', line 6, column 1"),
    "wrong indentation": (GOOD + " layers: all\n", "expected <block end>, but found"),
    "code": ("summary: !!python/object/apply:os.getcwd []\n", "could not determine a constructor for the tag"),
    "a megabyte of nesting": ("modules: " + LONG, "larger than 65536 bytes"),
    "nesting as deep as the size allows": ("modules: " + "{a: " * 10_000, "nested too deeply"),
    "a list": ("- lora\n", "must hold a mapping of keys to values"),
    "nothing": ("", "must hold a mapping of keys to values"),
    "no text": (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
}


@contextmanager
def few_calls():
    """Fail where so many functions are called that a reader would wait, whatever the machine: a second or so."""
    calls = 0

    def count(frame, event, given):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert calls < 6_000_000


@pytest.fixture
def refusal(tmp_path):
    """``refusal(content)``: what is said of such a file, at once."""
    load_space("lora", BERT)  # module types are imported when they are first asked for

    def of(content):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with few_calls(), pytest.raises(InvalidInput) as caught:
            load_space(str(path), BERT, BERT_PARAMETERS)
        return [str(problem) for problem in caught.value.problems]

    return of


def test_there_are_forty_and_the_file_that_they_spoil_is_good(tmp_path):
    assert len(BROKEN) + len(UNREADABLE) >= 40
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_space(str(path), BERT, BERT_PARAMETERS).cardinality == 1


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_told_at_its_path(refusal, mistake):
    content, wanted = BROKEN[mistake]
    told = refusal(content)
    assert any(line.startswith(f"mine.yaml: {wanted}") for line in told), told[:5]
    if "thousand" not in mistake:
        assert len(told) == 1, "one mistake, one message"


@pytest.mark.parametrize("mistake", UNREADABLE)
def test_what_cannot_be_read_is_told_with_its_place(refusal, mistake):
    content, wanted = UNREADABLE[mistake]
    (told,) = refusal(content)
    assert told.startswith("file = ") and "mine.yaml" in told and wanted in told
