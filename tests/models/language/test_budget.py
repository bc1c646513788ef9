"""A budget that is spent says so with the figure, and asks nobody."""

import math

import pytest

from maskwright.errors import ModelUnavailable
from maskwright.models.language.budget import Budget, BudgetedModel, Price, Spent, Usage, estimate_usage
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Message


def test_an_unbounded_budget_only_counts():
    budget = Budget("project 3", price=Price(prompt=2, completion=8))
    budget.charge(Usage(1_000_000, 500_000), 1.5)
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
    budget = Budget("image 12", price=Price(prompt=1), **bounds)
    budget.check()
    budget.charge(Usage(1000, 34), 12.5)
    with pytest.raises(ModelUnavailable, match=f"the budget of image 12 is spent, {figure}"):
        budget.check()


def test_a_budget_goes_on_from_what_was_spent_before():
    with pytest.raises(ModelUnavailable, match="5 of 5 tokens"):
        Budget("project 3", tokens=5, spent=Spent(tokens=5)).check()


def test_one_of_several_budgets_is_enough_to_refuse():
    image, project = Budget("image 1", tokens=10), Budget("project 3", seconds=0)
    model = BudgetedModel(SentenceMatcher(), image, project)
    question = PromptSet().question("post-refinement", labels=["dog"], phrase="puppy")
    with pytest.raises(ModelUnavailable, match="project 3"):
        model.answer(question.messages, question.schema)


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
