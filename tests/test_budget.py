import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.budget import Budget, add_budget, parse_budget, parse_params
from autopeft.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("40", Budget(trials=40)),
        (" 40 ", Budget(trials=40)),
        ("1.0", Budget(trials=1)),
        ("90s", Budget(seconds=90)),
        ("0.5m", Budget(seconds=30)),
        ("2h", Budget(seconds=7200)),
        ("4gpu-h", Budget(gpu_seconds=14_400)),
        ("1.5gpu-h", Budget(gpu_seconds=5400)),
    ],
)
def test_a_budget_is_trials_or_time(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "0", "0h", "-1", "+5", "1.5", "1e3", "40 trials", "2 h", "2H", "h", "gpu-h", "1d", "inf", "nan", "9" * 400]
    + ["9" * 400 + "h"],
)
def test_anything_else_is_none_and_the_message_says_what_is(text):
    with pytest.raises(InvalidInput, match=r"give trials \(40\), wall time \(90s, 30m, 2h\) or GPU time \(4gpu-h\)"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("current", "text", "total"),
    [
        ("40", "+20", "60"),
        ("40", "20", "20"),
        ("40", "2h", "2h"),
        ("30m", "+30s", "1830s"),
        ("1h", "+0.5s", "3600.5s"),
        ("300h", "+1h", "1083600s"),
        ("4gpu-h", "+0.5gpu-h", "4.5gpu-h"),
        ("999999gpu-h", "+1gpu-h", "1000000gpu-h"),
    ],
)
def test_a_plus_adds_and_what_it_gives_is_a_budget_again(current, text, total):
    assert add_budget(current, text) == total
    parse_budget(total)


@pytest.mark.parametrize(("current", "text"), [("40", "+5m"), ("5m", "+40"), ("4gpu-h", "+1h"), ("1h", "+1gpu-h")])
def test_unlike_units_do_not_add(current, text):
    with pytest.raises(InvalidInput, match=f"the search's budget is {current}; add the same unit"):
        add_budget(current, text)


@pytest.mark.parametrize("text", ["+", "+0", "+-3", "++3", "x", "0"])
def test_what_is_added_must_be_a_budget(text):
    with pytest.raises(InvalidInput, match="more than 0"):
        add_budget("40", text)


seconds = st.floats(0.001, 1e9).map(lambda number: f"{number:.3f}s")


@given(seconds, seconds)
def test_time_adds_up_without_loss_however_long_it_is(current, more):
    total = parse_budget(add_budget(current, f"+{more}")).seconds
    assert total == pytest.approx(float(current[:-1]) + float(more[:-1]), rel=1e-12, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("300000", 300_000),
        ("300k", 300_000),
        ("1.5M", 1_500_000),
        ("1.5m", 1_500_000),
        ("3e5", 300_000),
        (" 7 ", 7),
        ("2%", 2_000_000),
        ("0.5%", 500_000),
        ("100%", 100_000_000),
        ("0.0000001%", 0),
    ],
)
def test_a_cap_is_a_number_or_a_share_of_the_base_model(text, cap):
    assert parse_params("max-params", text, 100_000_000) == cap


@pytest.mark.parametrize("text", ["", "0", "0%", "-1", "x", "300,000", "2 %", "1e400", "1e-3", "%", "k", "nan", "inf"])
def test_any_other_cap_is_none_and_the_message_says_what_is(text):
    with pytest.raises(InvalidInput, match=r"max-params.*give a number \(300000, 300k, 1.5M\) or a percentage"):
        parse_params("max-params", text, 100)
