import math
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest

from director_wsgi.demo.plot import WIDTH, Curve, Interval, Panel, picture

SVG = "{http://www.w3.org/2000/svg}"
INTERVALS = (Interval(10, 20, "I"), Interval(20, 40, "J", is_shaded=False))


def panel(*curves: Curve, logarithmic: bool = False) -> Panel:
    ticks = ((1.0, "one"), (10.0, "ten"), (100.0, "hundred"))
    return Panel(title="P", curves=curves, ticks=ticks, height=200, is_logarithmic=logarithmic)


def drawn(*panels: Panel, title: str = "T") -> ET.Element:
    return ET.fromstring(picture(title, "S", panels, intervals=INTERVALS, ends_at=40))


def points(document: ET.Element) -> list[list[tuple[float, float]]]:
    lines = [line.attrib["points"].split() for line in document.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in line)] for line in lines]


def curve(values: Sequence[tuple[float, float]], label: str = "c") -> Curve:
    return Curve(label, "#123456", values)


def test_decades_are_equally_far_apart_on_a_logarithmic_scale() -> None:
    scale = panel(logarithmic=True)
    assert [scale.share(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


def test_a_linear_scale_is_linear() -> None:
    assert [panel().share(value) for value in (1, 50.5, 100)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("value", [0.0, -3.0, 0.5, 1000.0, math.inf])
def test_what_lies_beyond_the_scale_is_put_at_its_end(value: float, logarithmic: bool) -> None:
    assert panel(logarithmic=logarithmic).share(value) == (0 if value < 1 else 1)


def test_later_is_further_right_and_more_is_higher() -> None:
    ((first, second),) = points(drawn(panel(curve([(5, 10), (30, 90)]))))
    assert first[0] < second[0]
    assert first[1] > second[1]


def test_every_point_lies_within_the_frame() -> None:
    document = drawn(panel(curve([(-1, 0), (50, 1e9)])), panel(curve([(0, 1), (40, 100)]), logarithmic=True))
    height = float(document.attrib["height"])
    for line in points(document):
        for x, y in line:
            assert 0 <= x <= WIDTH
            assert 0 <= y <= height


def test_the_interval_is_shaded_where_it_lies_on_the_axis() -> None:
    document = drawn(panel(curve([(10, 1), (20, 1)])))
    ((begins, ends),) = points(document)
    (shade,) = [r for r in document.iter(f"{SVG}rect") if "x" in r.attrib]
    assert float(shade.attrib["x"]) == pytest.approx(begins[0], abs=0.1)
    assert float(shade.attrib["x"]) + float(shade.attrib["width"]) == pytest.approx(ends[0], abs=0.2)


def test_intervals_are_named_once() -> None:
    texts = [text for text in drawn(panel(), panel()).iter(f"{SVG}text") if text.text in {"I", "J"}]
    assert [text.text for text in texts] == ["I", "J"]
    first, second = (float(text.attrib["x"]) for text in texts)
    assert first < second


def test_the_axis_says_what_it_counts() -> None:
    document = ET.fromstring(picture("T", "S", (panel(),), intervals=(), ends_at=150, unit="reloads"))
    texts = [text.text for text in document.iter(f"{SVG}text")]
    assert texts[-1] == "reloads"
    assert "140" in texts


def test_the_whole_picture_has_a_ground_of_its_own() -> None:
    ground = next(drawn(panel()).iter(f"{SVG}rect"))
    assert ground.attrib["fill"] == "#ffffff"
    assert ground.attrib["width"] == str(WIDTH)


def test_words_are_words_whatever_is_in_them() -> None:
    document = drawn(panel(curve([], label='<a href="x">&')), title="a < b & c")
    texts = [text.text for text in document.iter(f"{SVG}text")]
    assert "a < b & c" in texts
    assert '<a href="x">&' in texts


def test_every_curve_is_named_in_its_own_stroke() -> None:
    dashed = Curve("d", "#abcdef", [(0, 1)], is_dashed=True)
    strokes = [p.attrib for p in drawn(panel(dashed)).iter(f"{SVG}path") if p.attrib["stroke"] == "#abcdef"]
    assert len(strokes) == 1
    assert "stroke-dasharray" in strokes[0]
