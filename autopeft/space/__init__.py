"""Search spaces: what may be chosen, and the architecture that each choice decodes to."""

from autopeft.space.dimensions import Choice, Dimension, Integers, Point, Range
from autopeft.space.explore import find, gates, largest, smallest
from autopeft.space.load import load_document, load_space, preset_names, space_names
from autopeft.space.space import SearchSpace

__all__ = [
    "Choice",
    "Dimension",
    "Integers",
    "Point",
    "Range",
    "SearchSpace",
    "find",
    "gates",
    "largest",
    "load_document",
    "load_space",
    "preset_names",
    "smallest",
    "space_names",
]
