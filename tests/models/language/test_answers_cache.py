"""The same question is asked once; the folder stays within its bound; damage is no answer."""

import json
import os

import pytest
from typer.testing import CliRunner

from maskwright.cli import app
from maskwright.errors import MaskwrightError, NotFound
from maskwright.models.language.answers_cache import AnswersCache, CachedModel
from maskwright.models.language.budget import Budget
from maskwright.models.protocols import Message

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ASKED = [Message("system", "s"), Message("user", "u", (b"png",))]


class Counting:
    name, version = "counting", "counting-1"

    def __init__(self):
        self.asked = 0

    def answer(self, messages, schema):
        self.asked += 1
        return {"n": self.asked}


@pytest.fixture
def cache(tmp_path):
    return AnswersCache(tmp_path / "language", 10_000)


def test_the_same_is_asked_once_even_by_another_process(cache, tmp_path):
    model = Counting()
    assert CachedModel(model, cache).answer(ASKED, SCHEMA) == {"n": 1}
    again = CachedModel(model, AnswersCache(tmp_path / "language", 10_000))
    assert again.answer(ASKED, SCHEMA) == {"n": 1}
    assert (again.name, again.version) == ("counting", "counting-1")


def test_whatever_differs_is_another_question():
    keys = {
        AnswersCache.key("m-1", ASKED, SCHEMA),
        AnswersCache.key("m-2", ASKED, SCHEMA),
        AnswersCache.key("m-1", ASKED, {"type": "object"}),
        AnswersCache.key("m-1", ASKED[1:], SCHEMA),
        AnswersCache.key("m-1", [ASKED[0], Message("user", "u", (b"other",))], SCHEMA),
        AnswersCache.key("m-1", [Message("user", "s"), ASKED[1]], SCHEMA),
        AnswersCache.key("m-1", [Message("user", "\ud800")], SCHEMA),
    }
    assert len(keys) == 7


def test_a_cached_answer_is_free_even_of_a_spent_budget(cache):
    model, budget = CachedModel(Counting(), cache), Budget("image 1", tokens=0)
    model.answer(ASKED, SCHEMA)
    assert model.ask(ASKED, SCHEMA, [budget]) == {"n": 1}
    assert budget.spent.requests == 0


@pytest.mark.parametrize("damage", [b"", b'{"n": ', b"[1]", b"{}", b'{"answer": {"n": "one"}}', b"\xff", b"[" * 9999])
def test_a_damaged_answer_is_asked_for_again(cache, tmp_path, damage):
    model = CachedModel(Counting(), cache)
    model.answer(ASKED, SCHEMA)
    (path,) = (tmp_path / "language").iterdir()
    path.write_bytes(damage)
    assert model.answer(ASKED, SCHEMA) == {"n": 2}
    assert model.answer(ASKED, SCHEMA) == {"n": 2}


def test_the_least_recently_used_leave(tmp_path):
    cache = AnswersCache(tmp_path, 300)
    for position in range(5):
        cache.put(f"{position:032x}", {"n": 10_000_000_000 + position})  # 58 bytes each
        os.utime(tmp_path / f"{position:032x}.json", ns=(position, position))
    assert cache.get(f"{0:032x}", SCHEMA)
    cache.put(f"{5:032x}", {"n": 10_000_000_005})
    kept = {int(path.stem, 16) for path in tmp_path.glob("*.json")}
    assert {0, 5} <= kept
    assert 1 not in kept
    assert sum(path.stat().st_size for path in tmp_path.glob("*.json")) <= 300


def test_nothing_is_kept_where_nothing_may_be(tmp_path):
    AnswersCache(tmp_path / "a", 0).put("0" * 32, {"n": 1})
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path, caplog):
    (tmp_path / "language").write_text("a file is in the way")
    model = CachedModel(Counting(), AnswersCache(tmp_path / "language", 1000))
    assert model.answer(ASKED, SCHEMA) == {"n": 1}
    assert model.answer(ASKED, SCHEMA) == {"n": 2}
    assert caplog.text.count("are not kept") == 1


def test_answers_are_for_the_owner_only_and_can_be_erased(cache, tmp_path):
    CachedModel(Counting(), cache).answer(ASKED, SCHEMA)
    (path,) = (tmp_path / "language").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert cache.clear() == 1
    assert not list((tmp_path / "language").iterdir())


def test_without_room_nothing_is_read_either(tmp_path):
    schema = {"type": "object"}
    AnswersCache(tmp_path, 1000).put("0" * 32, {"label": "dog"})
    assert AnswersCache(tmp_path, 1000).get("0" * 32, schema) == {"label": "dog"}
    assert AnswersCache(tmp_path, 0).get("0" * 32, schema) is None


def test_people_see_what_was_answered_to_what_and_delete_one_answer(cache, tmp_path):
    model = CachedModel(Counting(), cache)
    model.answer(ASKED, SCHEMA)
    model.answer([Message("user", "what is it?")], SCHEMA)
    (tmp_path / "language" / ("f" * 32 + ".json")).write_text("damaged")
    last, first = cache.answers()
    assert (last.model, last.question, last.answer) == ("counting-1", "what is it?", {"n": 2})
    assert first.question == "u"
    assert cache.forget(last.key)
    assert [one.key for one in cache.answers()] == [first.key]
    assert model.answer([Message("user", "what is it?")], SCHEMA) == {"n": 3}
    assert not cache.forget("0" * 32)
    assert not cache.forget("../../secret")


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path))

    def call(*arguments):
        result = CliRunner().invoke(app, ["answers", *arguments])
        if isinstance(result.exception, MaskwrightError):
            raise result.exception
        return result.stdout

    return call


def test_answers_are_listed_and_deleted_by_a_command(command, cache):
    assert "no answer is kept" in command("list")
    CachedModel(Counting(), cache).answer([Message("user", "a  puppy\n")], SCHEMA)
    said = command("list", "PUPPY")
    assert "a puppy" in said
    assert '{"n": 1}' in said
    assert "no answer is kept that holds these words" in command("list", "cat")
    (told,) = json.loads(command("list", "--json"))
    assert "deleted: 1" in command("forget", told["key"])
    with pytest.raises(NotFound, match="no answer is kept under"):
        command("forget", told["key"])
