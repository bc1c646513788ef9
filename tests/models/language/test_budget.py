"""A budget that is spent says so with the figure, and asks nobody."""

import math

import pytest

from maskwright.errors import ModelUnavailable
from maskwright.models.language.budget import Budget, BudgetedModel, Price, Spent, Usage, estimate_usage
from maskwright.models.language.daily_money import DailyMoney
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Message


def test_an_unbounded_budget_only_counts():
    budget = Budget("project 3")
    budget.charge(Usage(1_000_000, 500_000), 1.5, Price(prompt=2, completion=8))
    budget.check()
    assert budget.spent == Spent(1.5, 1_500_000, 6.0, 1)
    assert budget.seconds_left == math.inf


@pytest.mark.parametrize(
    ("bounds", "figure"),
    [
        ({"tokens": 1000}, r"1,034 of 1,000 tokens"),
        ({"seconds": 10}, r"12\.5 of 10 seconds"),
        ({"money": 0.001}, r"0\.0010 of 0\.001 in money"),
    ],
)
def test_what_is_spent_is_refused_with_the_figure(bounds, figure):
    budget = Budget("image 12", **bounds)
    budget.check()
    budget.charge(Usage(1000, 34), 12.5, Price(prompt=1))
    with pytest.raises(ModelUnavailable, match=f"the budget of image 12 is spent, {figure}"):
        budget.check()


def test_one_of_several_budgets_is_enough_to_refuse():
    image, project = Budget("image 1", tokens=10), Budget("project 3", seconds=0)
    model = BudgetedModel(SentenceMatcher(), image, project)
    question = PromptSet().question("post-refinement", labels=["dog"], phrase="puppy")
    with pytest.raises(ModelUnavailable, match="project 3"):
        model.answer(question.messages, question.schema)
    assert image.spent.unanswered == project.spent.unanswered == 1


def test_a_day_s_money_is_one_for_all_processes_and_outlasts_them(tmp_path):
    one, other = DailyMoney(tmp_path, 1.0), DailyMoney(tmp_path, 1.0)
    for budget in (one, other):
        budget.check()
        budget.charge(Usage(300_000, 100_000), 1, Price(prompt=1, completion=2))
    with pytest.raises(ModelUnavailable, match=r"the budget of today \(UTC\) is spent, 1.0000 of 1 in money"):
        one.check()
    with pytest.raises(ModelUnavailable, match="today"):
        DailyMoney(tmp_path, 1.0).check()
    DailyMoney(tmp_path, 1.01).check()
    DailyMoney(tmp_path, None).check()
    (day,) = (tmp_path / "language-spent").iterdir()
    assert [line.split(" ", 1)[1] for line in day.read_text().splitlines()] == ["0.500000000 300000 100000"] * 2


def test_another_day_has_its_own_money_and_a_month_is_kept(tmp_path, monkeypatch):
    days = [f"2026-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 29)]
    (tmp_path / "language-spent").mkdir()
    for day in days:
        (tmp_path / "language-spent" / f"{day}.txt").write_text("10:00:00 5.0 1 1\n")
    DailyMoney(tmp_path, 1.0).check()
    assert sorted(path.stem for path in (tmp_path / "language-spent").iterdir()) == days[-31:]


def test_money_that_cannot_be_written_down_is_counted_all_the_same(tmp_path, caplog):
    (tmp_path / "language-spent").write_text("a file is in the way")
    budget = DailyMoney(tmp_path, 1.0)
    budget.check()
    budget.charge(Usage(1_000_000, 0), 1, Price(prompt=1))
    assert "not written down" in caplog.text
    with pytest.raises(ModelUnavailable, match="today"):
        budget.check()


def test_a_model_that_counts_no_tokens_uses_seconds():
    budget = Budget("image 1")
    question = PromptSet().question("post-refinement", labels=["dog"], phrase="puppy")
    assert BudgetedModel(SentenceMatcher(), budget).answer(question.messages, question.schema) == {"label": "dog"}
    assert budget.spent.requests == 1
    assert budget.spent.seconds > 0


def test_pictures_count_in_estimates():
    few = estimate_usage([Message("user", "dog?")], "yes")
    more = estimate_usage([Message("user", "dog?", (b"png",))], "yes")
    assert few == Usage(1, 1)
    assert more.prompt_tokens == 1001
