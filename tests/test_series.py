"""Files of series: times, grids, faults, parts, windows and scaling. Literal files in, literal arrays out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from seqapps.errors import ConfigError, DataError, UsageError
from seqapps.metrics.forecasting import dense
from seqapps.preprocessing.labels import Labels
from seqapps.preprocessing.scaling import Scaling, moments, naive_errors, scaling_of, unequal
from seqapps.preprocessing.series import reading
from seqapps.preprocessing.series.calendars import calendar_features, seconds_of
from seqapps.preprocessing.series.features import forward_filled, original_units
from seqapps.preprocessing.series.parts import Cut, Part, counts_of, joined, parted, sums_of, too_short, with_windows
from seqapps.preprocessing.series.plan import Plan
from seqapps.preprocessing.series.reading import Columns, Series, read_series
from seqapps.preprocessing.series.recent import chosen, recent, refused
from seqapps.preprocessing.series.timeline import (
    NO_TIME,
    Frequency,
    Grid,
    around,
    check_zone,
    infer,
    iso,
    parse_times,
)
from seqapps.preprocessing.series.windows import encode_windows, schema_of

NAN = np.nan
PLAIN = Columns(time=("t",), targets=("y",))


def seconds(*texts: str) -> list[int]:
    return [int(np.datetime64(text, "s").astype(np.int64)) for text in texts]


# ---- times


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("1949-01", "", "1949-01-01"),
        ("2010-01-02 05:00", "", "2010-01-02T05:00"),
        ("2010-01-02T05:00:00Z", "", "2010-01-02T05:00"),
        ("2010-01-02T05:00+02:00", "", "2010-01-02T03:00"),
        ("2010-01-02T05:00-05:00", "", "2010-01-02T10:00"),
        ("2010-01-02 05", "", "2010-01-02T05:00"),
        ("20100102", "", "2010-01-02"),
        ("20100102T0500", "", "2010-01-02T05:00"),
        ("1952", "", "1952-01-01"),
        ("2010-1", "", "2010-01-01"),
        ("2010 1 2 5", "%Y %m %d %H", "2010-01-02T05:00"),
        ("03/02/1999", "%d/%m/%Y", "1999-02-03"),
    ],
)
def test_time_is_read(text: str, form: str, expected: str) -> None:
    assert parse_times([text], form).tolist() == seconds(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "today",
        "2010-13-01",
        "yesterday",
        "12",
        "NaT",
        "1262304000",
        "1262304000000",
        "40179",
        "2010010",
        "0000",
    ],
)
def test_what_is_no_time_is_no_time(text: str) -> None:
    assert parse_times([text], "").tolist() == [NO_TIME]
    assert parse_times(["2010-01-01", text, "2011"], "").tolist() == [
        *seconds("2010-01-01"), NO_TIME, *seconds("2011"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_how_a_time_is_read_depends_on_no_other() -> None:
    texts = ["1949", "1950-02", "20100102", "2010-01-02 05:00-05:00", "2010-01-02T05:00+02:00", "2010-01-02T05:00"]
    alone = [int(parse_times([text])[0]) for text in texts]
    assert parse_times(texts).tolist() == alone
    assert parse_times([*texts, "x"]).tolist() == [*alone, NO_TIME]
    assert parsed("t,y\n1949,1\n1950,2\nx,3\n1952,4\n").series[0].numbers[:, 0].tolist()[:2] == [1, 2]


def test_time_is_written_short() -> None:
    assert [iso(value) for value in seconds("2010-01-02", "2010-01-02T05:00", "2010-01-02T05:00:07")] == [
        "2010-01-02", "2010-01-02T05:00", "2010-01-02T05:00:07",
    ]  # fmt: skip


def grid_of(*texts: str) -> Grid:
    times = np.array(seconds(*texts))
    found = infer(np.diff(times), times)
    assert found is not None
    return Grid.through(times, found)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("1949-01", "1949-02", "1949-03", "1949-04"), "1M"),
        (("2000-01-31", "2000-02-29", "2000-03-31", "2000-04-30"), "1ME"),
        (("2000-04-30", "2000-05-31", "2000-06-30"), "1ME"),
        (("1999-06-30", "1999-09-30", "1999-12-31"), "3ME"),
        (("2000-01-30", "2000-02-29", "2000-03-30", "2000-04-30"), "1M"),
        (("2000-01-01", "2000-04-01", "2000-07-01"), "3M"),
        (("2000-01-01", "2001-01-01", "2002-01-01"), "12M"),
        (("2000-01-01", "2000-01-08", "2000-01-15"), "7d"),
        (("2000-01-01", "2000-01-31", "2000-03-01"), "30d"),
        (("2000-01-01T00:15", "2000-01-01T00:30", "2000-01-01T00:45"), "15min"),
        (("2000-01-01T00", "2000-01-01T01", "2000-01-01T02", "2000-01-01T09"), "1h"),
    ],
)
def test_step_is_inferred(texts: tuple[str, ...], expected: str) -> None:
    grid = grid_of(*texts)
    assert grid.frequency.name == expected
    number, on_grid = grid.index(np.array(seconds(*texts)))
    assert on_grid.all()
    assert_array_equal(grid.times(number), seconds(*texts))


def test_ends_of_months_go_on_as_ends_of_months() -> None:
    grid = grid_of("2000-01-31", "2000-02-29", "2000-03-31", "2000-04-30")
    number, _ = grid.index(np.array(seconds("2000-04-30")))
    assert [iso(value) for value in grid.times(number + np.arange(1, 4))] == ["2000-05-31", "2000-06-30", "2000-07-31"]


@pytest.mark.parametrize("frequency", ["", "1M", "1ME"])
def test_thirtieths_of_long_and_short_months_are_ends(frequency: str) -> None:
    found = parsed("t,y\n2001-04-30,4\n2001-05-31,5\n2001-06-30,6\n", replace(PLAIN, frequency=frequency))
    assert (faults_of(found), found.frequency) == ([], "1ME")
    # One time does not say it: the step does, which is served with the model.
    assert around(np.array(seconds("2001-06-30")), found.frequency, 0, 2) == [
        ["2001-06-30T00:00:00", "2001-07-31T00:00:00", "2001-08-31T00:00:00"]
    ]
    (short,) = parsed("t,y\n2001-06-30,6\n", replace(PLAIN, frequency=found.frequency)).series
    _, times = recent(short, replace(PLAN, history=1, season=0), found.frequency)
    assert [iso(time) for time in times] == ["2001-06-30", "2001-07-31", "2001-08-31"]


@given(st.integers(1, 400), st.sampled_from(["s", "min", "h", "d", "M", "ME"]))
def test_name_of_a_step_is_read_back(count: int, unit: str) -> None:
    frequency = Frequency.parse(f"{count}{unit}")
    assert Frequency.parse(frequency.name) == frequency


def test_wrong_step_is_reported() -> None:
    with pytest.raises(ConfigError, match="hourly"):
        Frequency.parse("hourly")


# ---- files


def parsed(text: str, columns: Columns = PLAIN) -> Any:
    return read_series(text.encode(), columns, "file.csv")


def faults_of(found: Any) -> list[tuple[int, str]]:
    return [(fault.line, fault.reason) for fault in found.faults]


def test_gaps_duplicates_disorder_and_bad_lines() -> None:
    found = parsed(
        "t,y\r\n2000-01-01,1\r\n2000-01-03,3\r\n2000-01-02,2\r\n2000-01-03,9\r\nnever,4\r\n2000-01-05,x\r\n2000-01-06\r\n"
        "2000-01-07,NA\r\n2000-01-08T12:00,8\r\n2000-01-09,9"
    )
    assert faults_of(found) == [
        (5, "duplicate-time"),
        (6, "bad-time"),
        (7, "bad-number"),
        (8, "missing-field"),
        (10, "off-grid"),
    ]
    (series,) = found.series
    assert_array_equal(series.numbers[:, 0], [1, 2, 3, NAN, NAN, NAN, NAN, NAN, 9])
    assert_array_equal(np.diff(series.times), 86_400)
    assert (found.lines, found.frequency, series.gaps, series.unordered) == (10, "1d", 4, 1)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999", "1_000", "0x10", "1,5"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    found = parsed(f't,y\n2000-01-01,1\n2000-01-02,"{text}"\n2000-01-03,3\n')
    assert faults_of(found) == [(3, "bad-number")]


def test_a_missing_value_can_mean_a_number() -> None:
    found = parsed("t,y\n2000-01-01,1\n2000-01-02,NA\n2000-01-03,\n", replace(PLAIN, fill={"y": 0.0}))
    assert_array_equal(found.series[0].numbers[:, 0], [1, 0, 0])


def test_months_that_begin_at_year_one() -> None:
    found = parsed('"Month","y"\n"1-01",1\n"1-02",2\n"1-12",3\n', replace(PLAIN, time=("Month",), time_prefix="190"))
    assert found.frequency == "1M"
    assert iso(found.series[0].times[-1]) == "1901-12-01"
    assert len(found.series[0]) == 12


def test_a_cell_ends_with_its_line() -> None:
    found = parsed(
        't,y\r\n2000-01-01,1\n\n2000-01-02,"2\n2000-01-03,3\n2000-01-04,"4"5\n2000-01-05,"5"\n',
        replace(PLAIN, frequency="1d"),
    )
    assert faults_of(found) == [(4, "unreadable-csv"), (6, "unreadable-csv")]
    assert [fault.text for fault in found.faults] == ['2000-01-02,"2', '2000-01-04,"4"5']
    assert_array_equal(found.series[0].numbers[:, 0], [1, NAN, 3, NAN, 5])
    assert found.lines == 5
    long = parsed("t,y\n2000-01-01,1\n2000-01-02," + "7" * (2 << 20) + "\n2000-01-03,3\n")
    assert faults_of(long) == [(3, "unreadable-csv")]
    with pytest.raises(DataError, match=r"file\.csv, line 1: the header line cannot be read as CSV"):
        parsed('t,"y\n2000-01-01,1\n')


def test_every_line_has_the_cells_of_the_header() -> None:
    found = parsed("t,y,z\n2000-01-01,1,0\n2000-01-02,1,500,0\n2000-01-03,3\n2000-01-04,4,0\n")
    assert faults_of(found) == [(3, "extra-field"), (4, "missing-field")]
    with pytest.raises(DataError, match=r"names of columns must be different\. Received: 'y' twice"):
        parsed("t,y,y\n2000-01-01,1,2\n")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_reported(text: str) -> None:
    with pytest.raises(
        DataError, match=r"file\.csv: a header line and one line for each step are needed. Received: no line"
    ):
        parsed(text)


def test_a_static_column_has_one_value() -> None:
    columns = replace(PLAIN, series="s", static=("a", "c"), categorical=("c",))
    found = parsed(
        "s,t,y,a,c\nA,2000-01-01,1,,x\nA,2000-01-02,2,7,x\nA,2000-01-03,3,8,x\nA,2000-01-04,4,7,\nB,2000-01-01,5,8,y\n"
        "A,2000-01-05,5,7,z\nA,2000-01-06,6,7,x\n",
        columns,
    )
    assert faults_of(found) == [(4, "static-changes"), (7, "static-changes")]
    first, second = found.series
    assert_array_equal(first.numbers[:, 0], [1, 2, NAN, 4, NAN, 6])
    assert (first.static_numbers.tolist(), first.static_labels.tolist()) == ([7.0], [b"x"])
    assert (second.static_numbers.tolist(), second.static_labels.tolist()) == ([8.0], [b"y"])


def test_labels_of_a_file_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = reading._Lines._column_of_labels
    monkeypatch.setattr(
        reading._Lines, "_column_of_labels", lambda self, name: (asked.append(name), read(self, name))[1]
    )
    columns = replace(PLAIN, series="s", covariates=("c",), static=("a",), categorical=("c", "a"))
    text = "s,t,y,c,a\n" + "".join(f"{name},2000-01-0{day},1,x,z\n" for name in "ABC" for day in (1, 2))
    assert len(parsed(text, columns).series) == 3
    assert asked == ["c", "a"]


def test_tab_separated_without_header_and_with_byte_order_mark() -> None:
    columns = replace(PLAIN, delimiter="\t", header=("t", "y"))
    assert_array_equal(parsed("\ufeff2000-01-01\t1\n2000-01-02\t2\n", columns).series[0].numbers[:, 0], [1, 2])


def test_several_series_in_one_file() -> None:
    columns = replace(PLAIN, series="s", static=("a",), covariates=("c",), categorical=("c",))
    found = parsed(
        "s,t,y,a,c\nB,2000-01-01,1,7,x\nA,2000-01-01,5,8,\nB,2000-01-02,2,7,y\nA,2000-01-02,6,8,x\n", columns
    )
    first, second = found.series
    assert (first.name, second.name) == ("A", "B")
    assert_array_equal(first.numbers[:, 0], [5, 6])
    assert_array_equal(second.static_numbers, [7])
    assert first.labels.tolist() == [[b""], [b"x"]]
    assert second.labels.tolist() == [[b"x"], [b"y"]]


def test_a_series_without_a_name_can_have_that_of_its_file() -> None:
    text = b"t,y,s\n2000-01-01,1,A\n2000-01-02,2,A\n"
    assert [series.name for series in read_series(text, PLAIN, "file.csv", "file").series] == ["file"]
    assert [series.name for series in read_series(text, replace(PLAIN, series="s"), "file.csv", "file").series] == ["A"]


def test_unknown_column_and_far_time_are_errors() -> None:
    with pytest.raises(DataError, match=r"file\.csv: column does not exist\. Received: 'y'\. Allowed: t, z"):
        parsed("t,z\n2000-01-01,1\n")
    with pytest.raises(DataError, match="far away"):
        parsed("t,y\n1000-01-01,0\n2000-01-01,1\n2000-01-02,2\n2000-01-03,2\n2000-01-04,2\n")


def test_a_series_that_begins_at_half_past_keeps_its_lines() -> None:
    lines = [f"A,2000-01-01 {hour:02d}:00,{hour}" for hour in range(24)]
    lines += [f"B,2000-01-01 {hour:02d}:30,{hour}" for hour in range(5)]
    found = parsed("s,t,y\n" + "\n".join(lines), replace(PLAIN, series="s"))
    assert (faults_of(found), found.frequency) == ([], "1h")
    assert [len(series) for series in found.series] == [24, 5]
    assert [iso(series.times[0]) for series in found.series] == ["2000-01-01", "2000-01-01T00:30"]
    origins = np.array([series.times[-1] for series in found.series])
    assert around(origins, "1h", 0, 1) == [
        ["2000-01-01T23:00:00", "2000-01-02T00:00:00"],
        ["2000-01-01T04:30:00", "2000-01-01T05:30:00"],
    ]


def test_an_hourly_series_beside_a_daily_one_is_refused() -> None:
    lines = [f"hourly,2000-01-{1 + hour // 24:02d} {hour % 24:02d}:00,1" for hour in range(96)]
    lines += [f"daily,2000-01-{day:02d},1" for day in range(1, 31)]
    columns = replace(PLAIN, series="s")
    with pytest.raises(DataError, match=r"must have one step\. Received: 'daily' with 1d, the file with 1h\. Remedy"):
        parsed("s,t,y\n" + "\n".join(lines), columns)
    # Who names the step says that the others are gaps.
    found = parsed("s,t,y\n" + "\n".join(lines), replace(columns, frequency="1h"))
    assert [series.gaps for series in found.series] == [29 * 24 + 1 - 30, 0]


def test_months_of_two_series_are_one_step() -> None:
    lines = ["A,2000-01-31,1", "A,2000-02-29,1", "A,2000-03-31,1", "B,2000-02-01,1", "B,2000-03-01,1", "C,2000-01-05,1"]
    found = parsed("s,t,y\n" + "\n".join(lines), replace(PLAIN, series="s"))
    assert sum(map(len, found.series)) + len(found.faults) == 6


def test_a_line_without_a_logarithm_is_refused() -> None:
    text = "t,y\n2000-01-01,5\n2000-01-02,-1\n2000-01-03,-0.5\n2000-01-04,-7\n"
    found = parsed(text, replace(PLAIN, logged=("y",)))
    assert faults_of(found) == [(3, "no-logarithm"), (5, "no-logarithm")]
    assert faults_of(parsed(text)) == []


@pytest.mark.parametrize(
    ("texts", "form", "prefix", "expected"),
    [
        (("1960-11", "1960-12"), "", "", "1961-01"),
        (("1958", "1959"), "", "", "1960"),
        (("3-11", "3-12"), "", "190", "4-01"),
        (("2010-01-01", "2010-01-02"), "", "", "2010-01-03"),
        (("20100101", "20100102"), "", "", "20100103"),
        (("2010-01-01 22", "2010-01-01 23"), "", "", "2010-01-02 00"),
        (("2010-01-01T22:00", "2010-01-01T23:00"), "", "", "2010-01-02T00:00"),
        (("2010-01-01 23:59:50", "2010-01-01 23:59:55"), "", "", "2010-01-02 00:00:00"),
        (("02/12/1999", "03/12/1999"), "%d/%m/%Y", "", "04/12/1999"),
    ],
)
def test_a_time_comes_out_as_it_goes_in(texts: tuple[str, ...], form: str, prefix: str, expected: str) -> None:
    columns = replace(PLAIN, time_format=form, time_prefix=prefix)
    found = parsed("t,y\n" + "".join(f"{text},1\n" for text in texts), columns)
    (series,) = found.series
    assert tuple(found.form.text(time) for time in series.times) == texts
    _, times = recent(series, replace(PLAN, history=1, season=0), found.frequency)
    assert found.form.text(times[1]) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("", ["2021-03-27T23:00Z", "2021-03-28T00:00Z", "2021-03-28T01:00Z"]),
        ("Europe/Berlin", ["2021-03-28T00:00+01:00", "2021-03-28T01:00+01:00", "2021-03-28T03:00+02:00"]),
    ],
)
def test_times_with_an_offset_are_converted_to_one_clock_and_marked(zone: str, expected: list[str]) -> None:
    text = "t,y\n2021-03-28T00:00+01:00,1\n2021-03-28T00:00Z,2\n2021-03-28T03:00+02:00,3\n"
    found = parsed(text, replace(PLAIN, time_zone=zone))
    (series,) = found.series
    assert [found.form.text(series.times[place]) for place in (0, 1, -1)] == expected
    assert series.begins == expected[0]
    assert series.gaps == (1 if zone else 0)  # the hour that the clock of Berlin skips


def test_days_of_a_zone_are_days_in_summer_and_winter() -> None:
    text = "t,y\n2021-03-27T00:00+01:00,1\n2021-03-28T00:00+01:00,2\n2021-03-29T00:00+02:00,3\n"
    found = parsed(text, replace(PLAIN, time_zone="Europe/Berlin"))
    assert (faults_of(found), found.frequency, len(found.series[0])) == ([], "1d", 3)


def test_an_unknown_zone_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"`data\.time_zone`.*'Europe/Berln'.*Nearest: Europe/Berlin"):
        check_zone("Europe/Berln")


def test_series_of_very_different_levels_are_reported() -> None:
    names = ("y",)
    scaling = Scaling(names, (0.0,), (1.0,), naive_of={"y": {"small": 0.5, "large": 500.0, "still": 0.0}})
    assert unequal(scaling, "y").startswith("y: the steps of series 'large' are 1,000 times those of 'small'")
    assert not unequal(replace(scaling, logged=names), "y")
    assert not unequal(replace(scaling, naive_of={"y": {"a": 1.0, "b": 50.0}}), "y")


def test_a_form_that_does_not_say_all_of_a_time_is_not_taken() -> None:
    found = parsed("t,y\n2010-01-01,1\n2010-01-01 12:00,1\n2010-01-02,1\n")
    assert [found.form.text(time) for time in found.series[0].times] == ["2010-01-01", "2010-01-01T12:00", "2010-01-02"]


@given(st.permutations(range(12)))
@settings(max_examples=25, deadline=None)
def test_order_of_lines_changes_nothing(order: list[int]) -> None:
    lines = [f"2001-{month + 1:02d},{month}" for month in range(12)]
    plain = parsed("t,y\n" + "\n".join(lines))
    mixed = parsed("t,y\n" + "\n".join(lines[place] for place in order))
    assert_array_equal(plain.series[0].numbers, mixed.series[0].numbers)
    assert_array_equal(plain.series[0].times, mixed.series[0].times)


# ---- scaling


@given(st.sampled_from([0.0, 1016.0, 1e6, 1e9]), st.floats(0.1, 10.0), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_moments_keep_their_digits_far_from_zero(offset: float, spread: float, files: int) -> None:
    random = np.random.default_rng(7)
    parts = [offset + spread * random.standard_normal(50 + 10 * number) for number in range(files)]
    totals: dict[str, Any] = {}
    for part in parts:
        for name, values in moments("x", part).items():
            totals[name] = totals.get(name, 0.0) + values
    found, every = scaling_of(totals, ("x",), ()), np.concatenate(parts)
    assert_allclose(found.means[0], every.mean(), rtol=1e-14)
    assert_allclose(found.deviations[0], (every - every.mean()).std(), rtol=1e-9)
    assert found.counts == (len(every),)


def test_equal_files_share_the_reference() -> None:
    values = np.array([3.0, 5.0, 9.0])
    assert list(moments("x", values)) == list(moments("x", values[::-1]))


def test_constant_and_missing_columns() -> None:
    assert scaling_of(moments("x", np.full(5, 0.1)), ("x",), ()).deviations == (1.0,)
    with pytest.raises(DataError, match="`x` has no number"):
        scaling_of(moments("x", np.zeros(0)), ("x",), ())


@pytest.mark.parametrize("size", [1e-30, 1e-13, 1.0, 1e13, 1e30])
def test_how_small_the_numbers_are_changes_no_standard_value(size: float) -> None:
    values = size * np.array([[1.0], [2.0], [4.0]])
    found = scaling_of(moments("y", values[:, 0]), ("y",), ())
    assert_allclose(found.apply(values)[:, 0], [-1.0690449676, -0.2672612419, 1.3363062096], rtol=1e-6)


def test_naive_errors_by_hand() -> None:
    north = naive_errors("y", "north", np.array([1.0, 4.0, 2.0, NAN, 7.0]), 2)
    assert_array_equal(north["naive/y\tnorth"], [2, 6])  # |2 - 1| + |7 - 2|
    # Every series by its own error; of another that was not seen in training by that of all of them.
    south = naive_errors("y", "south", np.array([1.0, 11.0, 31.0]), 1)
    found = scaling_of({**north, **south, **moments("y", np.arange(3.0))}, ("y",), ())
    assert (found.naive, found.naive_of) == ({"y": 9.0}, {"y": {"north": 3.0, "south": 15.0}})
    assert found.naive_errors_of(["north", "south", "west"]).tolist() == [[3.0], [15.0], [9.0]]
    assert np.isnan(Scaling(("z",), (0.0,), (1.0,)).naive_errors_of(["north"])).all()
    assert Scaling.from_facts(found.facts) == found


def test_logged_scaling_is_undone_in_numpy_and_in_the_graph(tmp_path: Any) -> None:
    scaling = Scaling(("a", "b"), (1.0, 2.0), (0.5, 3.0), (9, 9), ("b",), {"a": 1.5}, {"a": {"north": 1.5}}, {})
    values = np.array([[2.0, 0.0], [-3.0, 250.0]])
    standard = scaling.apply(values)
    assert_allclose(standard[0], [2.0, -2.0 / 3.0], rtol=1e-6)
    assert_allclose(scaling.undo(standard), values, rtol=1e-5, atol=1e-5)
    assert_allclose(original_units(standard[..., None], scaling)[..., 0], scaling.undo(standard))
    scaling.save(tmp_path)
    assert Scaling.load(tmp_path) == scaling


# ---- calendar


@given(st.datetimes(min_value=__import__("datetime").datetime(1700, 1, 1)))
@settings(max_examples=40, deadline=None)
def test_calendar_of_any_time(moment: Any) -> None:
    text = moment.replace(microsecond=0).isoformat()
    found = seconds_of(tf.constant([text]))
    assert found.numpy().tolist() == seconds(text)
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    places = [hour / 24, moment.weekday() / 7, (moment.day - 1) / 31, (moment.month - 1) / 12]
    places.append((moment.timetuple().tm_yday - 1) / 365.25)
    expected = [wave(2 * np.pi * place) for place in places for wave in (np.sin, np.cos)]
    features = calendar_features(found, ("hour", "weekday", "day", "month", "yearday"))
    assert_allclose(features[0], expected, atol=1e-9)


def test_times_can_be_short() -> None:
    found = seconds_of(tf.constant(["1949-01", "1949-02-03", "1949-02-03T05:00"]))
    assert found.numpy().tolist() == seconds("1949-01", "1949-02-03", "1949-02-03T05:00")


# ---- parts and windows


def series_of(values: list[float], name: str = "") -> Series:
    count = len(values)
    empty = np.zeros((count, 0), np.bytes_)
    times = np.arange(count) * 86_400
    return Series(name, times, np.array(values)[:, None], empty, np.zeros(0), np.zeros(0, np.bytes_))


PLAN = Plan(PLAIN, history=3, horizon=2, season=4)


def resources_of(parts: list[Part], plan: Plan) -> dict[str, Any]:
    columns = plan.columns
    names = (*columns.numbers, *columns.static_numbers)
    counted = {name: dict(zip(*found, strict=True)) for name, found in counts_of(parts, plan).items()}
    labels = {
        name: Labels.from_counts({unit: int(count) for unit, count in found.items()}) for name, found in counted.items()
    }
    return {"scaling": scaling_of(sums_of(parts, plan), names, plan.logged), **labels}


def parts_of(values: list[float], plan: Plan = PLAN, **shares: float) -> dict[str, Part]:
    found = Cut(**{"validation": 0.2, "test": 0.2, **shares}).parts(series_of(values), plan, "1d")
    return with_windows(found, plan)


def test_parts_share_no_target_and_forecast_every_step_once() -> None:
    parts = parts_of([float(value) for value in range(30)], replace(PLAN, horizon=1))
    seen = {
        name: [int(part.series.numbers[o, 0]) for o in part.origins(replace(PLAN, horizon=1))]
        for name, part in parts.items()
    }
    assert seen == {"train": list(range(3, 18)), "validation": list(range(18, 24)), "test": list(range(24, 30))}
    assert {name: part.context for name, part in parts.items()} == {"train": 0, "validation": 4, "test": 4}


def test_a_part_without_a_window_is_left_out() -> None:
    # Of 20 steps two are for validation: one window of a horizon of two. Of 10 it is one step, which holds none.
    assert set(parts_of([1.0] * 20, validation=0.1, test=0.0)) == {"train", "validation"}
    assert set(parts_of([1.0] * 10, validation=0.1, test=0.0)) == {"train"}
    parts = parts_of([1.0] * 40, validation=0.1, test=0.0)
    assert {name: len(part.series) - part.context for name, part in parts.items()} == {"train": 36, "validation": 4}


def test_a_part_without_a_window_is_reported() -> None:
    cut = Cut(0.1, 0.2)
    assert too_short(cut.parts(series_of([1.0] * 10, "a"), PLAN, "1d"), PLAN) == [
        "series 'a': the validation part has 1 steps, a window needs 2"
    ]
    assert too_short(cut.parts(series_of([1.0] * 4, "b"), PLAN, "1d"), PLAN) == [
        "series 'b': the train part has 3 steps, a window needs 5",
        "series 'b': the validation part has 0 steps, a window needs 2",
        "series 'b': the test part has 1 steps, a window needs 2",
    ]
    assert too_short(Cut(0.0, 0.0).parts(series_of([1.0] * 9), PLAN, "1d"), PLAN) == []


def test_a_fold_without_a_window_is_refused() -> None:
    series = series_of([1.0] * 50, "a")  # ten steps for test, and a horizon of two
    for number in range(1, 6):
        Cut(0.1, 0.2, (number, 5)).check_fold(series, PLAN, "file.csv")
    message = (
        r"file\.csv: fold 1 of 7 of series 'a' has 1 steps, and `data\.horizon` needs 2\. "
        r"Allowed: up to 5 folds \(`--folds`, `data\.fold`\)\."
    )
    with pytest.raises(DataError, match=message):
        Cut(0.1, 0.2, (1, 7)).check_fold(series, PLAN, "file.csv")


def test_folds_roll_the_origin_over_the_test_part() -> None:
    found = [Cut(0.1, 0.2, (number, 4)).borders(100) for number in (1, 2, 3, 4)]
    assert found == [(0, 70, 80, 85), (0, 75, 85, 90), (0, 80, 90, 95), (0, 85, 95, 100)]
    assert Cut(0.1, 0.2).borders(100) == (0, 70, 80, 100)


@given(st.integers(1, 500), st.integers(1, 6), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_folds_share_no_test_step_and_leave_none_out(steps: int, count: int, validation: float, test: float) -> None:
    whole = Cut(validation, test).borders(steps)
    folds = [Cut(validation, test, (number, count)).borders(steps) for number in range(1, count + 1)]
    assert (folds[0][2], folds[-1][3]) == (whole[2], whole[3])
    assert [fold[3] for fold in folds[:-1]] == [fold[2] for fold in folds[1:]]
    assert all(list(fold) == sorted(fold) for fold in folds)


def test_parts_travel_as_bytes() -> None:
    part = parts_of([float(value) for value in range(30)])["test"]
    back = Part.load(part.dump())
    assert_array_equal(back.series.numbers, part.series.numbers)
    assert (back.context, back.frequency, back.series.name) == (part.context, "1d", "")
    assert part.dump() == part.dump()
    assert_array_equal(joined(parted(joined([part, back]))).splits, joined([part, back]).splits)


def windows(values: list[float], plan: Plan = PLAN) -> dict[str, Any]:
    part = Part(series_of(values), 0, "1d")
    features = encode_windows([part], plan, resources_of([part], plan))
    schema = schema_of(plan)
    assert list(features) == list(schema.names)
    return {
        name: dense(feature).reshape(len(feature), int(np.prod(dense(feature).shape[1:])))
        for name, feature in features.items()
    }


def test_windows_by_hand() -> None:
    found = windows([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    mean, deviation = 3.0, 2.0
    assert_allclose(found["history"] * deviation + mean, [[0, 1, 2], [1, 2, 3], [2, 3, 4]], atol=1e-6)
    assert_allclose(found["target"] * deviation + mean, [[3, 4], [4, 5], [5, 6]], atol=1e-6)
    # The first window has no value of four steps before its first target: the last one it saw stands there.
    assert_allclose(found["seasonal"] * deviation + mean, [[2, 0], [0, 1], [1, 2]], atol=1e-6)
    assert found["origin"].ravel().tolist() == [2 * 86_400, 3 * 86_400, 4 * 86_400]


def test_stride() -> None:
    assert windows([float(v) for v in range(12)], replace(PLAN, stride=3))["origin"].ravel().tolist() == [
        day * 86_400 for day in (2, 5, 8)
    ]


def test_missing_values_are_filled_from_the_window_alone_and_never_scored() -> None:
    values = [0.0, NAN, 2.0, 3.0, NAN, NAN, NAN, NAN, 8.0]
    found = windows(values, replace(PLAN, horizon=1, indicators=True))
    seen = np.array([value for value in values if np.isfinite(value)])
    history = found["history"].reshape(len(found["history"]), 3, 2)
    # Targets at 3 and 8 are there: the windows of steps 0 to 2 and 5 to 7.
    assert found["scored"].tolist() == [[1.0], [1.0]]
    assert_allclose(history[0, :, 0] * seen.std() + seen.mean(), [0, 0, 2], atol=1e-6)
    assert_allclose(history[1, :, 0], 0.0)
    assert_array_equal(history[:, :, 1], [[1, 0, 1], [0, 0, 0]])
    rejected = windows(values, replace(PLAN, horizon=1, missing="reject"))
    assert len(rejected["target"]) == 0


def test_the_future_never_reaches_the_training_part() -> None:
    values = (np.sin(np.arange(60)) * 10 + 50).tolist()
    plain, other = parts_of(values), parts_of(values[:48] + [value * 100 for value in values[48:]])
    for name in ("train", "validation"):
        assert plain[name].dump() == other[name].dump()
    assert plain["test"].dump() != other["test"].dump()


@given(
    st.lists(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(NAN)), min_size=5, max_size=5), min_size=1, max_size=6)
)
@settings(max_examples=40, deadline=None)
def test_forward_fill_is_the_loop_that_one_would_write(rows: list[list[float]]) -> None:
    filled, observed = forward_filled(tf.constant(np.array(rows)[:, :, None], tf.float64))
    for row, got, there in zip(rows, filled.numpy()[..., 0], observed.numpy()[..., 0], strict=True):
        last, expected = 0.0, []
        for value in row:
            last = value if np.isfinite(value) else last
            expected.append(last)
        assert_array_equal(got, expected)
        assert_array_equal(there, np.isfinite(row))


def test_recent_steps_of_a_file() -> None:
    columns = replace(PLAIN, known=("k",))
    plan = replace(PLAN, columns=columns, calendar=("weekday",), season=0)
    text = "t,y,k\n" + "".join(f"2000-01-{day:02d},{day if day < 7 else ''},{day}\n" for day in range(1, 9))
    (series,) = parsed(text, columns).series
    inputs, times = recent(series, plan, "1d")
    assert inputs["history"] == [[[4.0, 4.0], [5.0, 5.0], [6.0, 6.0]]]
    assert inputs["known"] == [[[7.0], [8.0]]]
    assert inputs["times"] == [[f"2000-01-0{day}T00:00:00" for day in range(4, 9)]]
    assert [iso(time) for time in times] == ["2000-01-06", "2000-01-07", "2000-01-08"]
    short = parsed("\n".join(text.splitlines()[:-1]), columns).series[0]
    with pytest.raises(ValueError, match=r"needs 2 lines after the last target, with k\. Received: 1"):
        recent(short, plan, "1d")


def test_a_short_history_is_not_filled() -> None:
    (series,) = parsed("t,y\n2000-01-01,1\n2000-01-02,2\n2000-01-03,\n").series
    with pytest.raises(ValueError, match="the history has 2 of 3 steps"):
        recent(series, PLAN, "1d")


def test_a_hole_in_the_history_is_reported_where_such_windows_are_left_out() -> None:
    (series,) = parsed("t,y\n2000-01-01,1\n2000-01-02,\n2000-01-03,3\n2000-01-04,4\n").series
    assert np.isnan(recent(series, PLAN, "1d")[0]["history"][0][1][0])
    with pytest.raises(ValueError, match=r"`data.missing` is \"reject\", and the history has no y at 2000-01-02"):
        recent(series, replace(PLAN, missing="reject"), "1d")
    # A hole before the history is none: the season alone reaches so far.
    (longer,) = parsed("t,y\n2000-01-01,\n2000-01-02,2\n2000-01-03,3\n2000-01-04,4\n").series
    assert recent(longer, replace(PLAN, missing="reject"), "1d")[0]["history"][0][1:] == [[2.0], [3.0], [4.0]]


def test_what_a_file_does_not_hold_is_reported() -> None:
    empty, one = parsed("t,y\n"), parsed("t,y\n2000-01-01,1\n2000-01-02,2\n")
    with pytest.raises(DataError, match=r"file\.csv holds no series\. Received: no line after the header\."):
        chosen(empty, "", "file.csv")
    with pytest.raises(UsageError, match=r"`--series` is for a model whose `data\.series` names a column.* 'north'"):
        chosen(one, "north", "file.csv")
    found = parsed("t,y\n2000-01-01,1\nx,2\n2000-01-02,2\n" + "y,3\n" * 6)
    assert refused(found, "file.csv") == (
        "predict: file.csv: 7 of 9 lines refused: line 3 bad-time, line 5 bad-time, line 6 bad-time, line 7 bad-time, "
        "line 8 bad-time, and 2 more"
    )
    assert refused(one, "file.csv") == ""
