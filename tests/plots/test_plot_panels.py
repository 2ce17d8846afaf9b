"""What the two panels hold, before any format draws it."""

import math

import pytest

from autopeft.plots.axis import ParamsAxis
from autopeft.plots.chart import make_chart
from autopeft.plots.layers import make_layer_panel
from autopeft.plots.palette import module_colours
from autopeft.plots.sizes import PANEL_WIDTH
from autopeft.plots.trade_off import make_trade_off
from autopeft.plots.wording import architecture_text, params_text, percent_text, score_text
from autopeft.registry import MODULE_TYPES


def test_zero_stands_left_of_the_break_and_of_every_count():
    axis = ParamsAxis.spanning([0, 700, 1_000_000], 22_700_000)
    assert axis.low < axis.position(0) < axis.cut < axis.position(700) < axis.position(1_000_000) < axis.high
    assert axis.ticks[0].lines == ("0", "0%")
    assert [tick.lines[0] for tick in axis.ticks[1:]] == ["1k", "10k", "100k", "1M"]
    assert axis.ticks[1].lines[1] == "0.0044%"
    assert all(place > axis.cut for place in axis.minor_ticks)


def test_without_a_zero_there_is_no_break():
    axis = ParamsAxis.spanning([700], 0)
    assert axis.zero is None and axis.cut is None
    assert [tick.lines for tick in axis.ticks] == [("500",), ("1k",)]
    with pytest.raises(ValueError, match="no place for zero"):
        axis.position(0)


def test_nothing_but_zero_has_one_tick():
    axis = ParamsAxis.spanning([0, 0], 100)
    assert [tick.lines for tick in axis.ticks] == [("0", "0%")]
    assert axis.minor_ticks == ()


@pytest.mark.parametrize("decades", range(8))
def test_every_span_has_from_two_to_ten_ticks(decades):
    for start in (1, 3, 7, 40, 999):
        axis = ParamsAxis.spanning([start, start * 10**decades], 10**9)
        assert 2 <= len(axis.ticks) <= 10


def test_numbers_are_short():
    assert [params_text(n) for n in (0, 7, 999, 1000, 31_416, 999_999, 10**9)] == [
        *("0", "7", "999", "1k", "31.4k", "1M", "1G")
    ]
    assert [percent_text(p) for p in (0, 1e-6, 0.0441, 0.441, 4.41, 44.1, 100)] == [
        *("0%", "0.000001%", "0.044%", "0.44%", "4.4%", "44%", "100%")
    ]
    assert [score_text(s) for s in (0.84249, -3.0, 1234.567)] == ["0.842", "-3.000", "1235"]


def test_every_row_has_its_mark(typical):
    panel = make_trade_off(typical)
    marks = [*panel.front, *panel.baselines, *panel.others]
    rows = {row.trial for row in (*typical.front, *typical.baselines, *typical.others)}
    assert sorted(mark.row.trial for mark in marks) == sorted(rows)
    assert [mark.number for mark in panel.front] == list(range(1, len(typical.front) + 1))
    for mark in marks:
        assert math.dist(panel.place(mark.pixel), mark.at) < 1e-9
        assert 0 < mark.pixel[0] < PANEL_WIDTH


def test_the_steps_never_fall(typical):
    steps = make_trade_off(typical).steps
    assert steps == sorted(steps)


def test_trials_far_below_are_counted_rather_than_drawn(answer, row):
    rows = [row(0, 0.5, name="head only"), row(10, 0.8), row(20, 0.7), row(30, -50.0)]
    chart = make_chart(answer(rows))
    assert [mark.row.score for mark in chart.trade_off.others] == [0.7]
    assert "1 searched trial lies below the view" in chart.note


def test_two_points_have_no_knee(answer, row):
    assert make_trade_off(answer([row(0, 0.5, name="head only"), row(10, 0.8)])).knee is None


def test_every_placement_of_the_front_is_a_bar_in_its_cell(any_answer):
    panel = make_layer_panel(any_answer)
    placed = [(i, p) for i, row in enumerate(any_answer.front) for p in row.architecture.placements]
    assert [(bar.column, bar.placement) for bar in panel.bars] == placed
    assert len(panel.cells) == panel.depth * len(panel.columns)
    for bar in panel.bars:
        cell = panel.cells[bar.column * panel.depth + bar.placement.layer]
        assert cell.bottom < bar.box.bottom < bar.box.top < cell.top
        assert bar.box.left < bar.box.right


def test_bars_do_not_overlap(any_answer):
    bars = make_layer_panel(any_answer).bars
    cells = {}
    for bar in bars:
        cells.setdefault((bar.column, bar.placement.layer), []).append(bar.box)
    for boxes in cells.values():
        ordered = sorted(boxes, key=lambda box: box.left)
        assert not any(a.overlaps(b) for a, b in zip(ordered, ordered[1:], strict=False))


def test_bars_grow_with_the_size(typical):
    heights = {}
    for bar in make_layer_panel(typical).bars:
        if bar.placement.size:
            heights.setdefault(bar.placement.size, round(bar.box.top - bar.box.bottom, 6))
    ordered = [heights[size] for size in sorted(heights)]
    assert ordered == sorted(set(ordered))


def test_a_deeper_baseline_shows_how_deep_the_model_is(answer, row, typical):
    shallow = row(5, 0.9, typical.front[1].architecture.placements[:1])
    assert make_layer_panel(answer([*typical.baselines, shallow])).depth == 6


def test_every_module_type_has_a_colour_of_its_own():
    colours = module_colours([*MODULE_TYPES.names, "new_one", "another"])
    assert len(set(colours.values())) == len(colours)
    assert module_colours(["lora"])["lora"] == colours["lora"]


def test_an_architecture_is_drawn_from_the_top_layer_down(typical):
    lora = next(row for row in typical.baselines if row.name.startswith("UniPELT"))
    assert architecture_text(lora.architecture) == [
        "layer  LoRA                                serial adapter",
        "0-5    8 attention.query, attention.value  48 ffn",
    ]
    assert architecture_text(typical.baselines[0].architecture) == ["head only: no modules"]


@pytest.mark.parametrize(
    ("state", "std", "said"),
    [
        ("done", 0.1, "confirmed over 3 seeds on validation"),
        ("done", None, "proxy scores, not confirmed"),
        ("running", None, "proxy scores, not confirmed  ·  search running"),
    ],
)
def test_the_subtitle_says_what_the_scores_are(answer, row, state, std, said):
    assert make_chart(answer([row(1, 0.5, std=std)], state=state)).subtitle == said


def test_a_long_name_is_cut_and_the_metric_is_not(answer, row):
    title = make_chart(answer([row(1, 0.5)], name="word " * 80)).title
    assert title.startswith("word word") and title.endswith("…: accuracy against trainable parameters")
