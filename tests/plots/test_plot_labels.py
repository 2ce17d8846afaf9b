"""Labels overlap nothing, stay in the panel, and find a place wherever there is room."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.plots.labels import Box, Wish, place, text_size
from autopeft.plots.sizes import PANEL_WIDTH
from autopeft.plots.trade_off import HEIGHT, make_trade_off

PANEL = Box(0, 0, PANEL_WIDTH, HEIGHT)
places = st.tuples(st.floats(0, PANEL_WIDTH), st.floats(0, HEIGHT))
names = st.sampled_from(["BitFit", "(IA)^3", "UniPELT, no gates", "Pfeiffer adapter 48", "12", "knee"])


def wish(text, x, y):
    return Wish(text, x, y, 11, 22, "#000000")


@settings(max_examples=40)
@given(st.lists(st.tuples(names, places), max_size=12), st.lists(places, max_size=30))
def test_labels_overlap_nothing_and_all_find_a_place(named, points):
    wishes = [wish(text, *at) for text, at in named]
    markers = [Box.around(*at, 34, 34) for at in (*points, *(at for _, at in named))]
    labels = place(wishes, markers, PANEL)
    for one, other in itertools.combinations([*(label.box for label in labels)], 2):
        assert not one.overlaps(other)
    for label in labels:
        assert label.box.inside(PANEL)
        assert not any(label.box.overlaps(marker) for marker in markers)
    assert len(labels) == len(wishes)


@given(places)
def test_a_lonely_label_stands_beside_its_marker(at):
    (label,) = place([wish("BitFit", *at)], [Box.around(*at, 22, 22)], PANEL)
    x, y = label.box.nearest(*at)
    assert math.hypot(x - at[0], y - at[1]) < 40


def test_a_label_far_from_its_marker_has_a_leader_to_the_marker_s_edge():
    marker = Box.around(700, 300, 22, 22)
    wall = Box.around(700, 300, 260, 160)
    (label,) = place([wish("BitFit", 700, 300)], [marker, wall], PANEL)
    start, end = label.leader
    assert not label.box.overlaps(wall)
    assert label.box.nearest(*start) == start
    assert math.isclose(math.dist(end, (700, 300)), 11)


def test_a_later_label_keeps_off_an_earlier_leader():
    wall = Box.around(700, 300, 260, 160)
    first, second = place([wish("BitFit", 700, 300), wish("UniPELT, no gates", 700, 390)], [wall], PANEL)
    (x0, y0), (x1, y1) = first.leader
    for step in range(33):
        x, y = x0 + (x1 - x0) * step / 32, y0 + (y1 - y0) * step / 32
        assert second.box.nearest(x, y) != (x, y)


def test_a_label_avoids_what_it_had_better_not_cover():
    covered = [Box(711, 200, 900, 400), Box(600, 311, 800, 400)]
    (label,) = place([wish("BitFit", 700, 300)], [Box.around(700, 300, 22, 22)], PANEL, covered)
    assert not any(label.box.overlaps(box) for box in covered)


def test_a_label_without_any_room_is_left_out():
    assert place([wish("BitFit", 10, 10)], [PANEL], PANEL) == []


def test_text_is_measured_as_it_is():
    assert text_size("$x^2$", 22)[0] > text_size("x2", 22)[0]
    assert text_size("word", 22, bold=True)[0] > text_size("word", 22)[0]


def test_the_labels_of_a_plot_overlap_no_mark(any_answer):
    panel = make_trade_off(any_answer)
    boxes = [label.box for label in panel.labels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for mark in (*panel.front, *panel.baselines):
        assert not any(box.overlaps(Box.around(*mark.pixel, 16, 16)) for box in boxes)


def test_every_baseline_and_the_knee_have_a_label(typical):
    panel = make_trade_off(typical)
    written = " / ".join(label.wish.text for label in panel.labels)
    assert all(row.name in written for row in typical.baselines)
    assert written.count("knee") == 1
    assert panel.knee.row is typical.pick("knee")
