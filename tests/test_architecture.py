import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.architecture import QUANTISATIONS, Architecture, Placement

names = st.sampled_from(["alpha", "bias", "scale", "std"])
scalars = st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
settings = st.dictionaries(names, scalars, max_size=3).map(lambda d: tuple(d.items()))
placement_lists = st.lists(
    st.builds(
        Placement,
        module=st.sampled_from(["lora", "ia3", "serial_adapter"]),
        site=st.sampled_from(["attention.query", "attention", "ffn", "norm.final"]),
        layer=st.integers(0, 30),
        size=st.integers(0, 300),
        options=settings,
    ),
    max_size=8,
    unique_by=lambda p: p.key,
)
architectures = st.builds(
    Architecture, placements=placement_lists.map(tuple), training=settings, quantisation=st.sampled_from(QUANTISATIONS)
)


def lora(layer, size=8, site="attention.query", **options):
    return Placement("lora", site, layer, size, tuple(options.items()))


@given(architectures)
def test_from_dict_reads_back_what_to_dict_wrote_through_json(architecture):
    read = Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
    assert read == architecture
    assert read.canonical_json() == architecture.canonical_json()
    assert read.fingerprint == architecture.fingerprint


@given(architectures, st.randoms(use_true_random=False))
def test_the_order_of_placements_options_and_training_does_not_matter(architecture, random):
    def shuffled(items):
        return tuple(random.sample(list(items), len(items)))

    placements = shuffled(architecture.placements)
    again = Architecture(
        tuple(Placement(p.module, p.site, p.layer, p.size, shuffled(p.options)) for p in placements),
        shuffled(architecture.training),
        architecture.quantisation,
    )
    assert again == architecture and hash(again) == hash(architecture)
    assert again.canonical_json() == architecture.canonical_json()
    assert again.fingerprint == architecture.fingerprint


@given(architectures, architectures)
def test_only_equal_architectures_share_a_fingerprint(a, b):
    assert (a.fingerprint == b.fingerprint) == (a.canonical_json() == b.canonical_json())
    if a != b:
        assert a.fingerprint != b.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        Architecture(),
        Architecture((lora(0), lora(1))),
        Architecture((lora(1),)),
        Architecture((lora(0, size=4),)),
        Architecture((lora(0, site="attention.value"),)),
        Architecture((lora(0, alpha=1.0),)),
        Architecture((Placement("loha", "attention.query", 0, 8),)),
        Architecture((lora(0),), training=(("epochs", 2),)),
        Architecture((lora(0),), quantisation="nf4"),
    ],
    ids=lambda a: a.canonical_json(),
)
def test_every_part_is_in_the_fingerprint(other):
    assert other.fingerprint != Architecture((lora(0),)).fingerprint


def test_the_fingerprint_is_pinned_because_stored_evaluations_are_found_by_it():
    architecture = Architecture((lora(1), lora(0), Placement("ia3", "ffn.hidden", 0)), (("epochs", 3),), "nf4")
    assert architecture.canonical_json() == (
        '{"placements":[{"layers":[0],"module":"ia3","site":"ffn.hidden"},'
        '{"layers":[0,1],"module":"lora","site":"attention.query","size":8}],'
        '"quantisation":"nf4","training":{"epochs":3}}'
    )
    assert architecture.fingerprint == "7fa239de3fd21558"
    assert Architecture().canonical_json() == '{"placements":[]}'


def test_placements_that_differ_only_by_layer_share_an_entry():
    document = Architecture((lora(3), lora(0), lora(1, size=4), lora(2, alpha=1.0))).to_dict()
    assert [(e["layers"], e["size"], e.get("options")) for e in document["placements"]] == [
        ([1], 4, None),
        ([2], 8, {"alpha": 1.0}),
        ([0, 3], 8, None),
    ]


def test_two_modules_of_a_type_at_one_place_are_refused():
    with pytest.raises(ValueError, match="at most one module of a type at a site of a layer"):
        Architecture((lora(0, size=4), lora(0, size=8)))


@pytest.mark.parametrize(("layer", "size"), [(-1, 8), (0, -8)])
def test_a_negative_layer_or_size_is_refused(layer, size):
    with pytest.raises(ValueError, match=f"layer={layer}, size={size}"):
        lora(layer, size)


def entry(**changes):
    group = {"module": "lora", "site": "attention.query", "layers": [0, 1], "size": 8} | changes
    return {"placements": [{name: value for name, value in group.items() if value is not None}]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"placements": [], "colour": 1, "budget": 2}, r"unknown keys in an architecture: \['budget', 'colour'\]"),
        (entry(rank=8), r"unknown keys in a placement: \['rank'\]"),
        (entry(module=None, layers=None), r"a placement needs \['layers', 'module'\]"),
        (entry(layers=[0, 0]), "at most one module of a type"),
        (entry(layers=[-1]), "layer=-1"),
        (entry(layers=[1.5]), "layers"),
        (entry(layers=[True]), "layers"),
        (entry(layers="12"), "layers"),
        (entry(layers=3), "layers"),
        (entry(size=-1), "size=-1"),
        (entry(size=2.5), "size"),
        (entry(size="8"), "size"),
        ({"quantisation": "int4"}, "quantisation must be one of .*nf4.*got 'int4'"),
        ({"quantisation": None}, "quantisation must be one of"),
    ],
)
def test_a_document_that_is_no_architecture_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        Architecture.from_dict(document)


@pytest.mark.parametrize(
    ("placements", "text"),
    [
        ((), "head only"),
        ((lora(2),), "lora 8 @ layers 2"),
        ((lora(0, 2), lora(1, 4), lora(3, 8), lora(5), lora(6)), "lora 2-8 @ layers 0-1,3,5-6"),
        ((Placement("ia3", "ffn.hidden", 1), Placement("bitfit", "ffn.in", 1)), "bitfit + ia3 @ layers 1"),
        (
            tuple(p for i in range(2, 6) for p in (Placement("serial_adapter", "ffn", i, 48), lora(i, 6))),
            "lora 6 + serial_adapter 48 @ layers 2-5",
        ),
    ],
)
def test_the_summary_names_types_sizes_and_layers(placements, text):
    assert Architecture(placements).summary() == text


def test_layers_and_module_types_are_sorted_and_without_repeats():
    architecture = Architecture((lora(9), lora(2), Placement("ia3", "ffn.hidden", 2)))
    assert architecture.layers == (2, 9)
    assert architecture.module_types == ("ia3", "lora")


@given(architectures, st.sampled_from(QUANTISATIONS))
def test_with_quantisation_changes_nothing_else(architecture, quantisation):
    changed = architecture.with_quantisation(quantisation)
    assert changed.quantisation == quantisation
    assert (changed.placements, changed.training) == (architecture.placements, architecture.training)


@given(placement_lists)
def test_keys_are_unique_and_usable_as_names_of_submodules(placements):
    keys = {p.key for p in placements}
    assert len(keys) == len(placements)
    assert not any("." in key or "/" in key for key in keys)
