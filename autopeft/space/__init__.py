"""Search spaces: what may be chosen, and the architecture that each choice decodes to."""

from autopeft.space.dimensions import Choice, Dimension, Point, Range
from autopeft.space.load import load_document, load_space, space_names
from autopeft.space.space import SearchSpace

__all__ = ["Choice", "Dimension", "Point", "Range", "SearchSpace", "load_document", "load_space", "space_names"]
