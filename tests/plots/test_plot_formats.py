"""The files: what each format writes, and what is refused."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import pytest
from PIL import Image

from autopeft.errors import InvalidInput, NoFeasibleArchitecture
from autopeft.plots import PLOT_FORMATS, plot_front
from autopeft.plots.chart import make_chart
from autopeft.plots.html import make_figure
from autopeft.plots.sizes import WIDTH

HOSTILE = "</script><script>alert('x')</script> & $x^$ {0} \"q\""


class Page(HTMLParser):
    """What a page would load, and its text outside scripts."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text, self._open = [], [], "", ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open = tag
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        if self._open != "script":
            self.text += data


def parsed(path):
    page = Page()
    page.feed(path.read_text())
    return page


def test_formats_are_found_by_file_name():
    assert PLOT_FORMATS.names == ("html", "png")
    assert all(plot_format.summary for plot_format in PLOT_FORMATS.all().values())


def test_png_is_a_picture_of_1600_pixels_that_is_not_blank(any_answer, tmp_path):
    path = tmp_path / "front.png"
    plot_front(any_answer, path)
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.format == "PNG"
        assert image.width == WIDTH == 1600
        assert 1000 < image.height < 2600
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_png_needs_no_pyplot_and_keeps_the_backend(typical, tmp_path):
    backend = matplotlib.rcParams._get_backend_or_none()
    plot_front(typical, tmp_path / "front.PNG")
    assert matplotlib.rcParams._get_backend_or_none() == backend


def test_html_loads_nothing(typical, tmp_path):
    path = tmp_path / "deep" / "front.html"
    plot_front(typical, path)
    page, text = parsed(path), path.read_text()
    assert page.loads == []
    assert not {"link", "iframe", "img", "object"} & set(page.tags)
    assert "default-src 'none'" in text
    assert "Plotly.newPlot" in text and len(text) > 2_000_000
    assert [file.name for file in path.parent.iterdir()] == ["front.html"]


@pytest.mark.parametrize("suffix", ["png", "html"])
def test_hostile_names_are_only_text(typical, tmp_path, suffix):
    rows = [replace(row, name=HOSTILE) for row in typical.baselines]
    path = tmp_path / f"front.{suffix}"
    plot_front(replace(typical, name=HOSTILE, metric=HOSTILE, baselines=tuple(rows), front=tuple(rows[:1])), path)
    assert path.stat().st_size > 1000
    if suffix == "html":
        page = parsed(path)
        assert "alert('x')</script>" not in path.read_text()
        assert "</script><script>alert('x')</script> & $x^$ {0}" in page.text


def test_html_shows_every_row_and_placement(any_answer):
    chart = make_chart(any_answer)
    traces = json.loads(make_figure(chart).to_json())["data"]
    hovers = "\n".join(text for trace in traces for text in trace.get("hovertext") or ())
    shown = {int(number) for number in re.findall(r"trial   (\d+)", hovers)}
    rows = (*any_answer.front, *any_answer.baselines, *any_answer.others)
    assert len(shown) == len({row.trial for row in rows}) - chart.trade_off.hidden
    assert {row.trial for row in (*any_answer.front, *any_answer.baselines)} <= shown
    bars = sum(len(trace["hovertext"]) for trace in traces if trace["type"] == "bar" and trace.get("hovertext"))
    assert bars == sum(len(row.architecture.placements) for row in any_answer.front)


def test_hover_says_all_about_a_row(typical):
    figure = make_figure(make_chart(typical))
    row = typical.front[1]
    (text,) = {t for trace in figure.data for t in trace.hovertext or () if f"trial   {row.trial}<" in t}
    for part in (f"<b>2  {row.name}</b>", f"{row.params:,}", "of the base model", "± 0.004 (3 seeds, confirmed)"):
        assert part in text
    assert "<br>layer  " in text


def test_html_names_are_escaped_in_the_figure(typical):
    rows = tuple(replace(row, name="<b>x</b><a href='http://x'>") for row in typical.baselines)
    figure = make_figure(make_chart(replace(typical, baselines=rows, front=rows[:1], name="<i>")))
    assert "<a href" not in figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">")
    assert "&lt;i&gt;" in figure.layout.annotations[-1].text + "".join(a.text for a in figure.layout.annotations)


@pytest.mark.parametrize("name", ["front.pngg", "front", "front.base", "front.html_pen"])
def test_an_unknown_suffix_names_the_known_ones(typical, tmp_path, name):
    with pytest.raises(InvalidInput, match="known: html, png"):
        plot_front(typical, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(typical, tmp_path):
    (tmp_path / "front.png").mkdir()
    with pytest.raises(InvalidInput, match="a folder"):
        plot_front(typical, tmp_path / "front.png")


@pytest.mark.parametrize("score", [None, float("nan")])
def test_an_empty_front_is_an_error_and_writes_nothing(answer, row, tmp_path, score):
    empty = replace(answer([]), front=() if score is None else (row(1, score),))
    with pytest.raises(NoFeasibleArchitecture, match="nothing to plot"):
        plot_front(empty, tmp_path / "front.png")
    assert list(tmp_path.iterdir()) == []
