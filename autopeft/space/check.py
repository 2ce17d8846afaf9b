"""What is wrong with a space beyond the types of its values: in itself, and on a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from autopeft.architecture import Scalar
from autopeft.errors import Problem
from autopeft.geometry import SITE_NAMES, ModelGeometry
from autopeft.modules import MODULE_TYPES, ModuleType
from autopeft.modules.plan import option_problem
from autopeft.space.dimensions import Choice, Dimension
from autopeft.space.schema import SOLVED, Choose, Module, OptionValues, Sizes, SpaceDocument, TimesSize, TopLayers
from autopeft.space.structure import Structure


def misfits(document: SpaceDocument) -> Iterator[Problem]:
    """Yield what does not fit together in a space, whatever the model."""
    for name, module in document.modules.items():
        yield from _module_misfits(f"modules.{name}", name, module, document)
    yield from _overlaps(document)
    if document.allocation and document.groups is None:
        yield Problem("allocation", None, "shares out over groups; add groups")
    if document.allocation and document.allocation.of == "params" and document.budget is None:
        yield Problem("allocation.of", "params", "shares out the space's budget; add budget, or write size")
    if document.budget is not None and not document.solved:
        yield Problem("budget", document.budget, "no module meets it; give at least one the size 'solved'")
    for index, labels in enumerate(document.constraints.apart):
        for label in labels:
            if label not in document.modules:
                yield Problem.unknown(f"constraints.apart.{index}", label, document.modules)


def _module_misfits(path: str, name: str, module: Module, document: SpaceDocument) -> Iterator[Problem]:
    types = [MODULE_TYPES.get(kind) for kind in module.types(name)]
    if module.size is None and any(kind.sized for kind in types):
        yield Problem(f"{path}.size", None, "missing; this module type has a size")
    if module.size is not None and not any(kind.sized for kind in types):
        yield Problem(f"{path}.size", None, "this module type has no size; leave it out")
    if module.size == SOLVED and document.budget is None:
        yield Problem(f"{path}.size", SOLVED, "solved for what? add budget to the space, or give sizes")
    if document.groups is None:
        for key, value in (("gate", module.gate), ("size.per", module.size_scope)):
            if value == "group":
                yield Problem(f"{path}.{key}", value, "there are no groups; add groups to the space")
        if module.groups:
            yield Problem(f"{path}.groups", None, "there are no groups; add groups to the space")
    elif module.groups:
        for index, group in enumerate(module.groups):
            if group > (most := max(document.groups.counts)):
                yield Problem(f"{path}.groups.{index}", group, f"there are {most} groups")
    if module.gate == "placement" and isinstance(module.sites, Choose):
        yield Problem(f"{path}.gate", "placement", "chooses the sites already; list them without choose")
    for option, values in module.options.items():
        knowing = [kind for kind in types if option in kind.options]
        if not knowing:
            yield Problem.unknown(f"{path}.options", option, {known for kind in types for known in kind.options})
        problems = (_option_problem(f"{path}.options.{option}", kind, option, values) for kind in knowing)
        yield from dict.fromkeys(problem for problem in problems if problem)


def _option_problem(path: str, kind: ModuleType, option: str, values: OptionValues) -> Problem | None:
    if isinstance(values, TimesSize):
        wrong = option_problem(path, kind, option, 1.0)
        return wrong and Problem(f"{path}.times_size", None, wrong.remedy)
    if not isinstance(values, list):
        return option_problem(path, kind, option, values)
    problems = (option_problem(f"{path}.{index}", kind, option, value) for index, value in enumerate(values))
    return next((problem for problem in problems if problem), None)


def _overlaps(document: SpaceDocument) -> Iterator[Problem]:
    earlier: dict[tuple[str, str], list[str]] = {}  # the modules that take the place of a type at a site
    for name, module in document.modules.items():
        places = {
            (_place_of(kind), site): kind for kind, site in itertools.product(module.types(name), module.site_names)
        }
        others = dict.fromkeys(other for place in places for other in earlier.get(place, ()))
        clash = next((other for other in others if not _never_meet(document, name, other)), None)
        if clash is not None:
            shared = [place for place in places if clash in earlier.get(place, ())]
            types, sites = sorted({places[place] for place in shared}), sorted({site for _, site in shared})
            it = "it" if set(types) & set(document.modules[clash].types(clash)) else "another"
            remedy = f"puts {' and '.join(types)} where modules.{clash} puts {it} already; "
            yield Problem(
                f"modules.{name}.sites", ", ".join(sites), remedy + "give them other sites, or keep them apart"
            )
            continue  # one clash is enough: what is said of thousands of modules would not be read
        for place in places:
            earlier.setdefault(place, []).append(name)


def _place_of(kind: str) -> str:
    """Return what a module type shares its places with: itself, or all that go to keys and values."""
    return "kv" if "kv" in MODULE_TYPES.get(kind).kinds else kind


def _never_meet(document: SpaceDocument, one: str, two: str) -> bool:
    first, second = document.modules[one].groups, document.modules[two].groups
    if first and second and not set(first) & set(second):
        return True
    return any({one, two} <= set(apart) for apart in document.constraints.apart)


@dataclass(frozen=True)
class Fit:
    """Checks a space on a model."""

    document: SpaceDocument
    geometry: ModelGeometry
    base_parameters: int | None

    def problems(self) -> Iterator[Problem]:
        """Yield what the model has no place for."""
        for name, module in self.document.modules.items():
            yield from self._sites(f"modules.{name}", name, module)
            yield from self._sizes(f"modules.{name}.size", module)
        yield from self._layers()
        yield from self._amounts()

    def _sites(self, path: str, name: str, module: Module) -> Iterator[Problem]:
        has = self.geometry.site_names
        if not any(site in has for site in module.site_names):
            yield Problem.unknown(f"{path}.{_sites_key(module)}", ", ".join(module.site_names), has)
        elif not any(site.name in module.site_names and site.layer in self._possible for site in self.geometry.sites):
            named = ", ".join(module.site_names)
            yield Problem(f"{path}.{_sites_key(module)}", named, "no layer that takes part has it; see layers")
        for kind in module.types(name):
            accepted = MODULE_TYPES.get(kind).kinds
            fitting = list(dict.fromkeys(site.name for site in self.geometry.sites if site.kind in accepted))
            for index, site in enumerate(module.site_names):
                if site in has and site not in fitting:
                    places = ", ".join(fitting) or "no site of this model"
                    where = f"{path}.{_sites_key(module)}.{index}"
                    yield Problem(where, site, f"{kind} cannot go there; it can go to {places}")

    def _sizes(self, path: str, module: Module) -> Iterator[Problem]:
        for place, size in _given_sizes(module):
            if size > self.geometry.width:
                remedy = f"beyond the model's width, which is {self.geometry.width}"
                yield Problem(f"{path}.{place}", size, remedy)

    def _layers(self) -> Iterator[Problem]:
        chosen, count = self.document.layers, self.geometry.layers
        if isinstance(chosen, TopLayers):
            for index, top in enumerate(chosen.top):
                if top > count:
                    yield Problem(f"layers.top.{index}", top, f"the model has {count} layers")
        elif isinstance(chosen, list):
            for index, layer in enumerate(chosen):
                if not -count <= layer < count:
                    remedy = f"the model has layers 0 to {count - 1}, or -1 down to {-count} from the last"
                    yield Problem(f"layers.{index}", layer, remedy)
        groups, most = self.document.groups, len(self._possible)
        if groups and max(groups.counts) > most:
            remedy = f"{most} layers take part, which make {most} groups at most"
            yield Problem("groups.count", max(groups.counts), remedy)

    @cached_property
    def _possible(self) -> frozenset[int]:
        return frozenset(Structure(self.document, self.geometry.layers).possible)

    def _amounts(self) -> Iterator[Problem]:
        bounds = self.document.constraints.params
        amounts = {
            "budget": self.document.budget,
            "constraints.params.least": bounds.least,
            "constraints.params.most": bounds.most,
        }
        for path, amount in amounts.items():
            if isinstance(amount, str) and self.base_parameters is None:
                yield Problem(path, amount, "a percentage of a model whose size is not known; give a number")
        if bounds.least is None or bounds.most is None:
            return
        if self.base_parameters is None and not (isinstance(bounds.least, int) and isinstance(bounds.most, int)):
            return
        least, most = (in_parameters(amount, self.base_parameters) for amount in (bounds.least, bounds.most))
        if least > most:
            yield Problem("constraints.params.least", bounds.least, f"above most, which is {bounds.most}")


def _sites_key(module: Module) -> str:
    return "sites.choose" if isinstance(module.sites, Choose) else "sites"


def _given_sizes(module: Module) -> Iterator[tuple[str, int]]:
    if isinstance(module.size, list):
        yield from ((str(index), size) for index, size in enumerate(module.size))
    elif isinstance(module.size, Sizes):
        yield from ((f"also.{index}", size) for index, size in enumerate(module.size.also))
        if module.size.high is not None:
            yield "high", module.size.high


def in_parameters(amount: int | str, base_parameters: int | None) -> int:
    """Return an amount as a number of parameters."""
    if isinstance(amount, int):
        return amount
    assert base_parameters is not None, "refused before"
    return round(float(amount.removesuffix("%")) / 100 * base_parameters)


def forbidden_names(document: SpaceDocument, dimensions: Iterable[Dimension]) -> Iterator[Problem]:
    """Yield the forbidden combinations that name a dimension or a value that the space does not have."""
    known = {dimension.name: dimension for dimension in dimensions}
    for index, combination in enumerate(document.constraints.forbid):
        for name, values in combination.items():
            path = f"constraints.forbid.{index}"
            if name not in known:
                yield Problem.unknown(path, name, known)
                continue
            for value in values if isinstance(values, list) else [values]:
                if not holds(known[name], value):
                    yield Problem(f"{path}.{name}", value, f"never chosen; there is {_shown(known[name])}")


def holds(dimension: Dimension, value: Scalar) -> bool:
    """Return whether a value is one of a dimension's."""
    if isinstance(dimension, Choice):
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in dimension.choices
        )
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and dimension.low <= float(value) <= dimension.high


def _shown(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.choices))
    return f"{dimension.low} to {dimension.high}"


def unknown_names(document: Mapping[str, object]) -> Iterator[Problem]:
    """Yield the module types and sites that no model has; the document may have any other mistake."""
    modules = document.get("modules")
    for name, definition in modules.items() if isinstance(modules, dict) else ():
        named = definition.get("type") if isinstance(definition, dict) else None
        named = name if named is None else named
        path = "modules" if named == name else f"modules.{name}.type"
        for kind in named if isinstance(named, list) else [named]:
            if isinstance(kind, str) and kind not in MODULE_TYPES.names:
                yield Problem.unknown(path, kind, MODULE_TYPES.names)
        sites = definition.get("sites") if isinstance(definition, dict) else None
        where = f"modules.{name}.sites"
        if isinstance(sites, dict):
            sites, where = sites.get("choose"), f"{where}.choose"
        for site in sites if isinstance(sites, list) else ():
            if isinstance(site, str) and site not in SITE_NAMES:
                yield Problem.unknown(where, site, SITE_NAMES)
