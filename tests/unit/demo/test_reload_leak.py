import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor

from director_wsgi.demo import command, reload_leak
from director_wsgi.demo.collector import Tally
from director_wsgi.demo.leak_report import CHANGED, WRONG, Run, draw, introduction, table
from director_wsgi.demo.leaking import Provider
from director_wsgi.demo.refused import RefusedError
from director_wsgi.demo.reloaded import Holding
from director_wsgi.demo.reloader import Order, Told, obey, written

SVG = "{http://www.w3.org/2000/svg}"


def holding(number: int, *, memory_kib: int = 0) -> Holding:
    return Holding(threads=number, files=3, memory_kib=memory_kib or 1024 * number, builds=number, exporters=number)


def run(name: str, numbers: Sequence[int], spans: dict[str, int]) -> Run:
    """Two reloads of each phase."""
    holdings = [holding(number) for number in numbers]
    return Run(name=name, each=2, holdings=holdings, settled=[*holdings[::2], holding(1)], spans=spans)


LEAKING = run("leaking", range(1, 8), {"first": 7})
TIGHT = run("tight", [1] * 7, {"first": 3, f"{CHANGED}0": 1, f"{CHANGED}1": 3})


class TestReport:
    def test_every_moment_has_its_row_and_every_holder_its_column(self) -> None:
        lines = [line.split() for line in table([LEAKING, TIGHT]).splitlines()]
        assert lines[0] == ["leaking", "tight"]
        begin = lines.index(["threads"])
        assert [line[-2:] for line in lines[begin + 1 : begin + 6]] == [
            ["1", "1"],
            ["3", "1"],
            ["5", "1"],
            ["7", "1"],
            ["1", "1"],
        ]

    def test_what_has_grown_is_told_against_the_beginning(self) -> None:
        (line,) = [line for line in table([LEAKING, TIGHT]).splitlines() if line.startswith("memory")]
        assert line.split()[-4:] == ["+6.0", "MiB", "+0.0", "MiB"]

    def test_what_took_effect_is_told_by_what_the_collector_got(self) -> None:
        wrong = run("wrong", [1] * 7, {f"{CHANGED}0": 1, f"{WRONG}1": 2})
        assert (wrong.changes_in_force, wrong.refused_in_force, wrong.arrived) == (1, 1, 3)
        assert (TIGHT.changes_in_force, TIGHT.refused_in_force, TIGHT.arrived) == (2, 0, 7)
        assert "7 of 7" in table([TIGHT])

    def test_the_picture_has_a_curve_of_every_holder_in_every_panel(self) -> None:
        document = ET.fromstring(draw([LEAKING, TIGHT], ["#111111", "#222222"]))
        strokes = [line.attrib["stroke"] for line in document.iter(f"{SVG}polyline")]
        assert strokes.count("#111111") == strokes.count("#222222") == 5  # exporters: alive, and ever built
        texts = [text.text or "" for text in document.iter(f"{SVG}text")]
        assert texts[-1] == "reloads"
        assert [text for text in texts if text.startswith("2 ")] == [
            "2 change nothing",
            "2 change something",
            "2 are refused",
        ]

    def test_no_curve_touches_the_upper_end_of_its_panel(self) -> None:
        document = ET.fromstring(draw([run("even", range(2, 9), {})], ["#111111"]))
        grids = [path.attrib["d"].split()[1] for path in document.iter(f"{SVG}path") if "H856" in path.attrib["d"]]
        uppers = {float(grid.partition("H")[0]) for grid in grids[2::3]}  # each panel has three, from below
        assert len(uppers) == 4
        for line in document.iter(f"{SVG}polyline"):
            assert uppers.isdisjoint(float(point.partition(",")[2]) for point in line.attrib["points"].split())

    def test_the_introduction_counts(self) -> None:
        assert "150 configurations: 50 that change nothing" in introduction(50)


class Processor(SpanProcessor):
    """Counts its ends."""

    def __init__(self) -> None:
        self.ends = 0

    def shutdown(self) -> None:
        self.ends += 1


class TestProvider:
    """It is what it says it is: if it were mended, the comparison would show nothing."""

    def test_what_is_handed_over_on_reuse_is_dropped_and_never_told(self) -> None:
        holder, processors = Provider(), [Processor() for _ in range(3)]
        providers = {id(holder.acquire(one, Resource({}))) for one in processors}
        assert len(providers) == 1
        for _ in processors:
            holder.release()
        assert [one.ends for one in processors] == [1, 0, 0]

    def test_it_lives_until_the_last_user_has_gone(self) -> None:
        holder, processor = Provider(), Processor()
        holder.acquire(processor, Resource({}))
        holder.acquire(Processor(), Resource({}))
        holder.release()
        assert processor.ends == 0
        assert holder.provider is not None
        holder.release()
        assert holder.provider is None
        holder.release()  # as there, once too often does nothing
        assert processor.ends == 1


class FakeHolder:
    """Writes down what it is told."""

    exporter = Processor

    def __init__(self) -> None:
        self.did: list[str] = []
        self.alive = [Processor(), Processor()]
        self.builds = 2
        self.waits = 2

    def reload(self, service: str, *, is_wrong: bool) -> None:
        self.did.append(f"reload {service}")
        if is_wrong:
            raise RefusedError

    def use(self) -> None:
        self.did.append("use")

    def is_settled(self) -> bool:
        self.waits -= 1
        return self.waits <= 0

    def close(self) -> None:
        self.did.append("close")
        self.alive.clear()


class TestReloader:
    def test_a_reload_is_followed_by_a_use_whether_or_not_it_was_refused(self) -> None:
        holder = FakeHolder()
        assert not obey(holder, Order(does="reload", service="a")).was_refused
        assert obey(holder, Order(does="reload", service="b", is_wrong=True)).was_refused
        assert holder.did == ["reload a", "use", "reload b", "use"]

    def test_what_lives_is_counted_by_looking(self) -> None:
        holder = FakeHolder()
        assert obey(holder, Order(does="settle")).exporters == 2
        assert obey(holder, Order(does="close")).exporters == 0

    def test_settling_waits_for_what_ends_by_itself(self) -> None:
        holder = FakeHolder()
        obey(holder, Order(does="settle"))
        assert holder.waits <= 0

    def test_an_unknown_order_is_no_success(self) -> None:
        with pytest.raises(ValueError, match="dance"):
            obey(FakeHolder(), Order(does="dance"))

    def test_messages_are_one_line_each(self) -> None:
        told = Told(builds=1, exporters=2, was_refused=False)
        assert written(told).count("\n") == 1
        assert Told(**json.loads(written(told))) == told


class TestTally:
    def test_spans_are_counted_by_who_sent_them(self) -> None:
        tally = Tally()
        request = ExportTraceServiceRequest()
        for name, spans in (("a", 2), ("b", 1)):
            resource = request.resource_spans.add()
            resource.resource.attributes.add(key="service.name").value.string_value = name
            scope = resource.scope_spans.add()
            for _ in range(spans):
                scope.spans.add(name="GET")
        for _ in range(2):
            tally.take(request.SerializeToString())
        assert tally.spans() == {"a": 4, "b": 2}

    def test_what_is_nothing_of_its_own_is_not_counted(self) -> None:
        tally = Tally()
        with pytest.raises(DecodeError):
            tally.take(gzip.compress(b"x"))
        assert tally.spans() == {}


class TestCommand:
    @pytest.mark.parametrize("words", [("--each", "0"), ("--each", "x"), ("extra",)])
    def test_what_is_not_understood_is_refused(
        self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["reload-leak", *words]) == 2
        assert "director-wsgi demo reload-leak: error: " in capsys.readouterr().err

    def test_help_says_what_it_needs_and_where_the_picture_goes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main(["reload-leak", "--help"]) == 0
        told = capsys.readouterr().out
        assert "director-wsgi[demo]" in told
        assert "reload-leak.svg" in told

    def test_a_folder_that_is_not_there_is_said_before_anything_is_started(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["reload-leak", "--out", str(tmp_path / "none" / "x.svg")]) == 1
        assert str(tmp_path / "none") in capsys.readouterr().err

    @pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
    def test_without_the_sdk_it_says_how_to_get_it(
        self, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def find(name: str) -> object:
            if name == missing:
                return None
            if name.startswith(f"{missing}."):
                raise ModuleNotFoundError(name)
            return object()

        monkeypatch.setattr(reload_leak, "find_spec", find)
        assert command.main(["reload-leak", "--out", str(tmp_path / "x.svg")]) == 1
        assert "pip install 'director-wsgi[demo]'" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
