"""The pictures of a sampler's evidence: what they hold, that texts fit, and the files."""

import io
import itertools
import math
from collections import Counter

import pytest
from PIL import Image

from autopeft.errors import InvalidInput
from autopeft.evidence import Evidence, Gate, Stage, StageAnswer, Structure
from autopeft.plots import plot_evidence
from autopeft.plots.gate_map import make_gate_map
from autopeft.plots.labels import Box, text_size
from autopeft.plots.png_evidence import render_gate_map, render_stage
from autopeft.plots.sizes import BODY, WIDTH
from autopeft.plots.stage_chart import make_stage_chart, wrap

LINEARS = ["attention.query", "attention.key", "attention.value", "attention.output", "ffn.in", "ffn.out"]
NORMS = ["norm.attention", "norm.cross_attention", "norm.ffn"]
EIGHTEEN = [
    *(("lora", site) for site in LINEARS),
    *(("bitfit", site) for site in LINEARS + NORMS[:1]),
    *(("layer_norm", site) for site in NORMS),
    *(("low_rank_adapter", site) for site in ("attention", "ffn")),
]
MODULES = ("adapter", "prefix", "bitfit", "lora")
ANSWERS = [" + ".join(names) for count in range(1, 5) for names in itertools.combinations(MODULES, count)]


def structure(layers, columns, kept=lambda index: index % 3 == 0, missing=lambda site, layer: False):
    places = [(m, s, layer) for m, s in columns for layer in range(layers) if not missing(s, layer)]
    gates = [
        Gate(m, s, layer, 1, 100, 0.5 + 0.49 * math.sin(index), kept(index))
        for index, (m, s, layer) in enumerate(places)
    ]
    return Structure(20_000, 12.3, 1200, layers, tuple(gates))


TWENTY = [*EIGHTEEN, ("brand_new", "ffn"), ("lora", "cross_attention.query")]
MANY = [(f"m{i}", site) for i in range(20) for site in LINEARS]
STRUCTURES = {
    "MiniLM": structure(6, EIGHTEEN),
    "48 layers": structure(48, TWENTY, missing=lambda site, layer: "cross" in site and layer < 24),
    "one gate": structure(1, [("lora", "ffn.in")]),
    "nothing kept": structure(2, [("lora", "ffn.in"), ("lora", "ffn.out")], kept=lambda index: False),
    "all the same": Structure(5, 0.0, 1, 2, tuple(Gate("lora", "ffn", i, 1, 9, 0.5, bool(i)) for i in range(2))),
    "more columns than the page is wide": structure(2, MANY),
}


def answer(label, *scores):
    mean = sum(scores) / len(scores) if scores else None
    std = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)) if len(scores) > 1 else None
    return StageAnswer({}, label, mean, std, scores, (1, 2))


def stage(*answers):
    best = max((i for i, one in enumerate(answers) if one.scores), key=lambda i: answers[i].mean)
    return Stage("strategy of group 1", answers, best)


LONG = "a_very_long_name_of_a_module_indeed"
STAGES = {
    "15 answers": stage(*(answer(name, 0.6 + 0.01 * i, 0.64, 0.7 - 0.01 * i) for i, name in enumerate(ANSWERS))),
    "long labels": stage(answer(" + ".join([LONG] * 4), 0.5), answer("x" * 300, 0.6), answer("", 0.4)),
    "a failed answer": stage(answer("uniform", 0.5, 0.6), answer("spindle")),
    "one score": stage(answer("uniform", 0.0)),
    "huge": stage(answer("uniform", -1e9, 1e9), answer("spindle", 1e9)),
}


@pytest.fixture(params=STRUCTURES)
def found(request):
    return STRUCTURES[request.param]


@pytest.fixture(params=STAGES)
def decided(request):
    return STAGES[request.param]


def written(line):
    """The box of a line of a page."""
    width, height = text_size(line.text, line.size, line.bold)
    left = line.x - (width / 2 if line.centred else 0)
    return Box(left, line.y - height / 2, left + width, line.y + height / 2)


def standing(text):
    """The box of a centred text."""
    return Box.around(text.x, text.y, *text_size(text.text, text.size))


def hanging(text):
    """The box of a text that is written upwards and ends at its place."""
    width, height = text_size(text.text, text.size)
    return Box(text.x - height / 2, text.y - width, text.x + height / 2, text.y)


def no_overlap(boxes):
    return not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


# -- gates


def test_every_gate_has_a_cell_of_its_own_and_the_chosen_are_outlined(found):
    picture = make_gate_map(found, "reviews")
    assert [cell.gate for cell in picture.cells] == list(found.gates)
    assert [cell.gate for cell in picture.kept] == [gate for gate in found.gates if gate.chosen]
    assert len({(cell.box.left, cell.box.bottom) for cell in picture.cells}) == len(found.gates)
    columns = {(cell.gate.module, cell.gate.site): cell.box.left for cell in picture.cells}
    assert len(set(columns.values())) == len(columns) == len(picture.sites)
    rows = {cell.gate.layer: cell.box.bottom for cell in picture.cells}
    assert sorted(rows) == sorted(rows, key=rows.get), "layer 0 is at the foot"


def test_the_more_probable_the_darker(found):
    cells = sorted(make_gate_map(found, "reviews").cells, key=lambda cell: cell.gate.probability)
    lightness = [int(cell.colour[1:3], 16) for cell in cells]
    assert lightness == sorted(lightness, reverse=True)


def test_numbers_at_the_edges_count_the_kept_gates():
    picture, kept = make_gate_map(STRUCTURES["MiniLM"], "reviews"), STRUCTURES["MiniLM"].kept
    grid = Box(0, 0, *(max(getattr(cell.box, side) for cell in picture.cells) for side in ("right", "top")))
    over = {round(mark.x): int(mark.text) for mark in picture.marks if mark.y > grid.top}
    beside = {round(mark.y): int(mark.text) for mark in picture.marks if mark.x > grid.right}
    middles = {(cell.gate.module, cell.gate.site): round(cell.box.centre[0]) for cell in picture.cells}
    assert over == {middles[place]: n for place, n in Counter((g.module, g.site) for g in kept).items()}
    assert sorted(beside.values()) == sorted(Counter(gate.layer for gate in kept).values())


def test_texts_of_the_gates_fit(found):
    picture = make_gate_map(found, "a rather long name of a search " * 9)
    (width, height), (left, bottom) = picture.size, picture.zero
    page = Box(-left, -bottom, width - left, height - bottom)
    lines = [*picture.titles, *picture.key.lines, *(swatch.name for swatch in picture.legend)]
    boxes = [*map(written, lines), *map(hanging, picture.sites), *map(standing, picture.marks)]
    assert all(box.inside(page) for box in boxes)
    assert no_overlap(boxes)
    assert no_overlap([*(cell.box for cell in picture.cells), *(box for box, _ in picture.bands)])
    assert not any(box.overlaps(cell.box) for box in boxes for cell in picture.cells)
    for cell in picture.cells:
        assert cell.value is None or standing(cell.value).inside(cell.box)


def test_probabilities_are_written_where_there_is_room():
    assert all(cell.value for cell in make_gate_map(STRUCTURES["MiniLM"], "reviews").cells)
    assert not any(cell.value for cell in make_gate_map(STRUCTURES["48 layers"], "reviews").cells)


@pytest.mark.parametrize(("name", "said"), [("48 layers", True), ("MiniLM", False)])
def test_places_without_a_gate_are_explained(name, said):
    lines = make_gate_map(STRUCTURES[name], "reviews").key.lines
    assert any("no gate there" in line.text for line in lines) == said


# -- stages


def test_answers_stand_by_their_means_with_the_best_first(decided):
    chart = make_stage_chart(decided, "reviews, stage 1", "accuracy")
    assert sorted(row.answer.label for row in chart.rows) == sorted(one.label for one in decided.answers)
    assert [row.best for row in chart.rows] == [True] + [False] * (len(decided.answers) - 1)
    assert chart.rows[0].answer is decided.winner
    means = [row.mean for row in chart.rows if row.mean is not None]
    assert means == sorted(means, reverse=True)
    assert all(row.mean is not None for row in chart.rows[: len(means)]), "the failed ones come last"


def test_marks_lie_in_the_plot_and_in_order_of_the_scores(decided):
    chart = make_stage_chart(decided, "reviews, stage 1", "accuracy")
    for row in chart.rows:
        assert len(row.scores) == len(row.answer.scores)
        assert (row.spread is None) == (row.answer.std is None)
        for x in (*row.scores, *(row.spread or ())):
            assert chart.plot.left <= x <= chart.plot.right
    pairs = sorted((s, x) for row in chart.rows for s, x in zip(row.answer.scores, row.scores, strict=True))
    assert [x for _, x in pairs] == sorted(x for _, x in pairs)
    assert len(chart.ticks) >= 2


def test_texts_of_a_stage_fit(decided):
    chart = make_stage_chart(decided, "a rather long name of a search " * 9, "accuracy")
    page = Box(0, 0, *chart.size)
    boxes = [*map(written, (*chart.lines, *(line for row in chart.rows for line in row.lines)))]
    boxes += map(standing, chart.ticks)
    assert all(box.inside(page) for box in boxes)
    assert no_overlap(boxes)
    assert chart.plot.right - chart.plot.left > WIDTH / 3
    assert not any(box.overlaps(chart.plot) for box in boxes)


def test_long_labels_are_wrapped_and_words_that_are_too_long_cut():
    assert wrap("adapter + lora", 500) == ["adapter + lora"]
    lines = wrap("adapter + prefix + bitfit + lora", 200)
    assert len(lines) > 1 and " ".join(lines) == "adapter + prefix + bitfit + lora"
    (cut,) = wrap("x" * 300, 200)
    assert cut.endswith("x…") and text_size(cut, BODY, bold=True)[0] <= 200


# -- files


def evidence(**found):
    return Evidence("s-1", "reviews", "done", "s3delta", "accuracy", **found)


def check_png(content, size):
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG" and image.size == tuple(map(round, size))
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_gates_are_a_png_of_their_size(found):
    picture = make_gate_map(found, "$x^$ </b>")
    check_png(render_gate_map(picture), picture.size)


def test_a_stage_is_a_png_of_its_size(decided):
    chart = make_stage_chart(decided, "$x^$ </b>", "accuracy")
    check_png(render_stage(chart), chart.size)


def test_files_are_named_by_budget_and_stage(tmp_path):
    both = evidence(structures=(STRUCTURES["one gate"],), stages=(STAGES["one score"], STAGES["one score"]))
    paths = plot_evidence(both, tmp_path / "new")
    names = ["gates-20000.png", "stage-1-strategy-of-group-1.png", "stage-2-strategy-of-group-1.png"]
    assert [path.name for path in paths] == names == sorted(path.name for path in (tmp_path / "new").iterdir())


def test_nothing_yet_writes_nothing(tmp_path):
    assert plot_evidence(evidence(), tmp_path / "new") == []
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match="name a folder"):
        plot_evidence(evidence(), tmp_path / "taken")
