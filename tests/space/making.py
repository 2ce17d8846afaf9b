"""Models and spaces that the tests of spaces are made of."""

from transformers import AutoConfig

from autopeft.geometry import ModelGeometry
from autopeft.space import SearchSpace
from autopeft.space.schema import SpaceDocument

BERT_PARAMETERS = 109_482_240


def geometry_of(family, **changes):
    return ModelGeometry.from_config(AutoConfig.for_model(family, **changes).to_dict())


def document_of(modules, **rest):
    return SpaceDocument.model_validate({"schema": 1, "summary": "made up", "modules": modules, **rest})


def space_of(modules, geometry, base_parameters=None, **rest):
    """The space of these modules, and of what the document says besides."""
    return SearchSpace("made up", document_of(modules, **rest), geometry, base_parameters)


def bert(**changes):
    """BERT-base, or one with other numbers."""
    return geometry_of("bert", **changes)


def small_bert(layers):
    """A BERT so narrow and low that whole spaces can be counted on it."""
    return bert(hidden_size=32, num_attention_heads=4, intermediate_size=48, num_hidden_layers=layers)
