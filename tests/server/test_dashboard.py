"""The pages over a real store with made-up rounds: what they show, what they refuse, and what the forms do."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskwright.learn.rounds.requests import WANTED
from maskwright.learn.rounds.suggestions import RATES
from maskwright.learn.rounds.workshop import round_folder
from maskwright.learn.settings import read_learning
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright.store.opener import StoreOpener
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright.store.times import now, to_text
from maskwright.store.workers import WorkerRegister

OURS = {"Origin": "http://localhost"}
BAD = "<script>alert(1)</script>'\"><img src=x>"


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", Path(__file__).with_name("demo.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


demo = load_demo()


class Site:
    """An application over a home, with a browser that looks at it."""

    def __init__(self, home: Path, **chosen: Any) -> None:
        self.settings = Settings(_env_file=None, home=home, **chosen)
        self.opener = StoreOpener(self.settings)
        self.notices: list[Any] = []
        assistant = SimpleNamespace(health=lambda: {"model": "embedded", "loaded": []}, close=lambda: None)
        self.services: Any = SimpleNamespace(
            settings=self.settings, store=self.opener, assistant=assistant, notice=self.notices.append,
            jobs=SimpleNamespace(jobs=lambda: ()), observe=lambda *_: None,
        )  # fmt: skip
        self.app = create_app(self.services, Metrics(), [])
        self.browser: FlaskClient = self.app.test_client()

    @property
    def store(self) -> Any:
        return self.opener()

    def present(self, project: int) -> int:
        return ServedRegister(self.store.database).current(project, demo.BASE).id

    def get(self, path: str, status: int = 200) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def token(self, path: str) -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(path))
        assert found is not None
        return found.group(1)

    def post(self, path: str, page: str, status: int = 303, **fields: Any) -> str:
        """Send a form of a page as its browser would; the page that follows."""
        answer = self.browser.post(path, data={"form_token": self.token(page), **fields}, headers=OURS)
        assert answer.status_code == status, answer.text
        return self.get(answer.headers["Location"]) if status == 303 else answer.text


@pytest.fixture
def site(tmp_path: Path):
    made = Site(tmp_path / "home")
    yield made
    made.opener.close()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory) -> tuple[Path, int]:
    """A home with the demo, and the project's number."""
    made = Site(tmp_path_factory.mktemp("seeded") / "home")
    number = demo.seed(made.settings.home, made.store)
    made.opener.close()
    return made.settings.home, number


@pytest.fixture
def project(site: Site, seeded: tuple[Path, int]) -> int:
    shutil.copytree(seeded[0], site.settings.home)
    return seeded[1]


def pages(project: int) -> list[str]:
    return [
        "/", f"/projects/{project}", f"/projects/{project}/queue", f"/projects/{project}/queue?page=2",
        f"/projects/{project}/versions", *(f"/projects/{project}/rounds/{n}" for n in range(1, 8)),
    ]  # fmt: skip


def words_of(page: str) -> str:
    """What a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_before_the_first_project_the_page_says_what_to_do_and_makes_no_database(site):
    assert "maskwright connect" in site.get("/")
    site.get("/projects/1", status=404)
    assert not list(site.settings.home.glob("*.sqlite3*"))


def test_every_page_is_shown_and_guarded_against_foreign_scripts_and_frames(site, project):
    for path in pages(project):
        answer = site.browser.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script(?! src=\"/dashboard/)|\sstyle=|\son\w+=|(?:src|action)=\"(?!/)", answer.text)


def test_assets_are_local(site, project):
    for path in set(re.findall(r'(?:src|href)="(/dashboard/[^"]+)"', site.get("/") + site.get(f"/projects/{project}"))):
        assert site.browser.get(path).status_code == 200


def test_the_list_of_projects_tells_what_each_serves_and_what_its_last_round_said(site, project):
    demo.add_project(site.store, "Leaves", number=13, tasks=3, annotated=0)
    page = words_of(site.get("/"))
    assert "Nuclei, histology label-studio 12 semi-automatic 100 60 round 7 embedded round 7 promoted" in page
    assert "Leaves label-studio 13 assisted 3 0 the base model" in page


def test_a_project_shows_its_curves_and_the_way_from_the_first_round_to_now(site, project):
    page = site.get(f"/projects/{project}")
    assert "round 4, 1 click: 0.680, not promoted" in page
    assert "round 7, 1 click: 0.819, promoted" in page
    assert "before round 1, 1 click: 0.520" in page
    read = words_of(page)
    assert "IoU at 1 click 0.819 0.520 before round 1" in read
    assert "Clicks to IoU 0.85 3.44 7.40 before round 1" in read


def test_a_round_says_first_in_plain_words_what_came_out_and_why(site, project):
    read = words_of(site.get(f"/projects/{project}/rounds/4"))
    verdict = read.index("The new version was refused")
    assert verdict < read.index("Refused: the mean IoU") < read.index("Figures on the held-out part")
    assert "IoU at 1 click 0.701 0.680 −0.021" in read
    assert "Suspected label errors" in read
    assert "drawn ↓" in read
    groups = site.get(f"/projects/{project}/rounds/7")
    assert "phone camera: 0.268 (0.214 to 0.331)" in groups


def test_pictures_of_a_gallery_are_shown_with_their_tasks(site, project):
    page = site.get(f"/projects/{project}/rounds/7")
    assert 'href="http://labels.example:8080/projects/12/data?task=7"' in page
    pictures = re.findall(r'src="(/projects/\d+/rounds/7/gallery/[^"]+)"', page)
    assert len(pictures) == 15
    assert pictures[0] in site.get(f"/projects/{project}")
    answer = site.browser.get(pictures[0])
    assert answer.mimetype == "image/png"
    assert answer.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name", ["../2/worst-01.png", "..%2f2%2fworst-01.png", "%2e%2e/secret.png", ".hidden.png", "measured.json",
             "worst-01.png%00", "worst-99.png", "C:\\x.png", "a" * 300 + ".png", "folder.png"],
)  # fmt: skip
def test_no_other_file_is_given_out_as_a_picture(site, project, name):
    folder = round_folder(site.settings.home, project, 7)
    for path in (folder / ".hidden.png", folder / "measured.json", folder.parent / "secret.png"):
        path.write_bytes(b"secret")
    (folder / "folder.png").mkdir()
    answer = site.browser.get(f"/projects/{project}/rounds/7/gallery/{name}")
    assert answer.status_code == 404, name
    assert b"secret" not in answer.data


def test_looking_at_pages_writes_nothing(site, project):
    def everything() -> list[str]:
        with sqlite3.connect(site.settings.home / "corrections.sqlite3") as connection:
            return list(connection.iterdump())

    before = everything()
    for path in pages(project):
        site.get(path)
    assert everything() == before


def test_text_of_users_stays_text_everywhere(site):
    store = site.store
    project = demo.add_project(store, BAD, server="javascript:alert(1)//", number=3)
    metrics = demo.report(1, 0.1, 0.4)
    metrics["by_class"][0]["name"] = metrics["by_group"]["groups"][0]["name"] = metrics["by_group"]["field"] = BAD
    metrics["confusion"]["classes"][0] = BAD
    metrics["by_prompt"][0]["name"] = BAD
    metrics["training"]["adapter"] = {BAD: BAD}
    metrics["seconds"][BAD] = 1
    metrics["gallery"] = [
        {"file": "worst-01.png", "kind": "worst", "task": BAD, "label": BAD, "iou": 0.2, "note": BAD},
        {"file": f"{BAD}.png", "kind": "worst", "task": 1, "label": "", "iou": 0.2, "note": ""},
    ]
    demo.add_round(store, project, RoundState.REFUSED, BAD, metrics, base=BAD)
    ServedRegister(store.database).put(project, BAD, "a" * 32, None, round_number=None, reason=BAD)
    PriorityStore(store.database).put(project, [Priority(5, 0.5, {BAD: 0.1}, model_version=BAD)])
    rounds = RoundStore(store.database)
    rounds.queue(project, trigger=BAD, base=BAD, config={BAD: BAD})
    claimed = rounds.claim("w", 60, project_id=project)
    assert claimed is not None
    rounds.renew(claimed.id, "w", 60, {"stage": BAD, "done": BAD, BAD: 1})
    for path in ("", "/rounds/1", "/rounds/2", "/queue", "/versions", "/progress"):
        page = site.get(f"/projects/{project}{path}")
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        assert 'href="javascript:' not in page, path
    assert "<script>alert" not in site.get("/")


def altered(paths: list[tuple[Any, ...]]) -> st.SearchStrategy[dict[str, Any]]:
    junk = st.sampled_from([None, 0, -1, 1e400, "x", "", [], {}, [None], [[1]], {"a": None}, True, 10**15])

    @st.composite
    def make(draw: Any) -> dict[str, Any]:
        whole = json.loads(json.dumps(demo.report(2, 0.1, 0.3)))
        for path in draw(st.lists(st.sampled_from(paths), max_size=4)):
            target = whole
            try:
                for key in path[:-1]:
                    target = target[key]
                if draw(st.booleans()):
                    del target[path[-1]]
                else:
                    target[path[-1]] = draw(junk)
            except (KeyError, IndexError, TypeError):
                continue
        return whole

    return make()


def all_paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, one in children for path in [(*before, key), *all_paths(one, (*before, key))]]


def test_a_report_with_anything_missing_or_odd_is_shown_as_far_as_it_goes(site):
    project = demo.add_project(site.store, tasks=3, annotated=3)
    picture = {"file": "a.png", "kind": "worst", "task": 1, "label": "x", "iou": 0.1, "note": ""}
    paths = all_paths(demo.report(2, 0.1, 0.3, [picture]))

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(metrics=altered(paths), promoted=st.booleans())
    def check(metrics: dict[str, Any], promoted: bool) -> None:
        metrics = json.loads(json.dumps(metrics).replace("Infinity", "null"))
        state = RoundState.PROMOTED if promoted else RoundState.REFUSED
        number = demo.add_round(site.store, project, state, "because", metrics)
        site.get(f"/projects/{project}/rounds/{number}")
        site.get(f"/projects/{project}")
        site.get(f"/projects/{project}/versions")

    check()


def test_a_running_round_shows_how_far_it_is_and_when_no_worker_is_there_how_to_start_one(site, project):
    number = demo.begin_round(site.store, project)
    part = words_of(site.get(f"/projects/{project}/progress"))
    assert "Training the adapter, step 240 of 400, loss 0.412, about 38 s left." in part
    assert "60 %" in part
    assert "maskwright worker" not in part, "somebody holds the round, worker or not"
    assert "step 240" in site.get(f"/projects/{project}/rounds/{number}")
    site.post(f"/projects/{project}/rounds/{number}/cancel", f"/projects/{project}")
    RoundStore(site.store.database).release(RoundStore(site.store.database).get(project, number).id, "worker-1")
    assert "maskwright worker" in site.get(f"/projects/{project}/progress")
    WorkerRegister(site.store.database).seen("w")
    assert "maskwright worker" not in site.get(f"/projects/{project}/progress")


def test_without_a_round_there_is_no_progress(site, project):
    assert site.browser.get(f"/projects/{project}/progress").status_code == 204


def test_an_idle_project_has_a_hidden_place_where_a_round_that_begins_is_shown(site, project):
    place = f'data-progress="/projects/{project}/progress" hidden>'
    assert place in site.get(f"/projects/{project}")
    assert "progress.js" in site.get(f"/projects/{project}")
    number = demo.begin_round(site.store, project)
    assert place not in site.get(f"/projects/{project}")
    assert f"Round {number} is under way" in words_of(site.get(f"/projects/{project}"))


def test_with_enough_corrections_the_page_says_what_a_round_still_waits_for(site, project):
    at, store = f"/projects/{project}", site.store
    store.put_tasks(project, [demo.task(61, annotated=True)])
    assert "a round begins by itself after 20." in words_of(site.get(at))
    site.post(f"{at}/settings", at, corrections_per_round="1")
    assert "a round begins by itself once corrections pause for 1 min." in words_of(site.get(at))


def test_after_a_round_that_came_to_nothing_the_page_says_how_to_try_it_again(site, project):
    at, rounds = f"/projects/{project}", RoundStore(site.store.database)
    assert "train --force" not in site.get(at)
    number = demo.begin_round(site.store, project)
    rounds.finish(rounds.get(project, number).id, "worker-1", RoundState.FAILED, reason="the disk is full")
    assert "To try the last one again: maskwright train --force" in words_of(site.get(at))


def test_pages_without_scripts_reload_themselves_while_a_round_runs(site, project):
    refresh = '<noscript><meta http-equiv="refresh"'
    assert refresh not in site.get(f"/projects/{project}")
    demo.begin_round(site.store, project)
    assert refresh in site.get(f"/projects/{project}")


def test_tasks_that_have_no_score_yet_are_shown_without_a_place(site, project):
    at, priorities = f"/projects/{project}/queue", PriorityStore(site.store.database)
    priorities.put(project, [Priority(40, None, {"bald": 0.1})])
    page = words_of(site.get(at))
    assert "have no place yet" in page
    assert "– 40 ↗ –" in page
    priorities.put(project, [Priority(number, 0.0, {"bald": 0.1}) for number in (40, 41)])
    page = words_of(site.get(at))
    assert "have no place yet" not in page
    assert "1 40 ↗ 0.000" in page


def test_the_queue_is_shown_a_page_at_a_time_in_its_order(site, project):
    first, second = site.get(f"/projects/{project}/queue"), site.get(f"/projects/{project}/queue?page=2")
    tasks = [int(n) for page in (first, second) for n in re.findall(r"data\?task=(\d+)\"", page)]
    assert tasks == list(range(40, 110))
    assert "page=2" in first
    assert "page=3" not in second
    for page in ("0", "-1", "x", "9" * 9, "9" * 40, "%00"):
        site.get(f"/projects/{project}/queue?page={page}")


def test_what_became_of_suggestions_is_shown_by_class_with_its_doubt(site, project):
    from maskwright.assist.suggestion.rates import ImageOutcome, suggestion_rates
    from maskwright.assist.suggestion.values import Suggestion

    assert "Suggested classes" not in site.get(f"/projects/{project}")
    seen, unseen = Suggestion("nucleus", "confirmed", 0.8, ()), Suggestion(BAD, "rejected", 0.1, ())
    images = [ImageOutcome((seen, unseen), frozenset({"nucleus"})), ImageOutcome((seen,))]
    classes = [one.to_json() for one in suggestion_rates(images)]
    told = {"images": 2, "looked_at": 1, "skew": 0.25, "at": "2026-05-01T10:00:00Z", "classes": classes}
    notes = ProjectNotes(site.store.database)
    notes.put(project, RATES, told)
    page = site.get(f"/projects/{project}")
    assert BAD not in page
    read = words_of(page[page.index("Suggested classes") :])
    assert "nucleus 100 % 34 % … 100 % 100 % 34 % … 100 % 100 % 21 % … 100 % – 0 % 0 % … 79 %" in read
    assert "2 images with suggestions, 1 of them looked at; counted 2026-05-01 10:00 UTC" in read
    assert "by 0.250 nats" in read
    for odd in ([1], {"classes": [7, {"suggested": {"share": "x"}}]}, {"classes": {}}, "x"):
        notes.put(project, RATES, odd)
        site.get(f"/projects/{project}")


def test_many_rounds_do_not_make_the_page_of_a_project_long(site):
    project, rounds = demo.add_project(site.store, tasks=3, annotated=3), RoundStore(site.store.database)
    for _ in range(105):
        rounds.cancel(project, rounds.queue(project, trigger="t", base="embedded", config={})[0].number)
    page = site.get(f"/projects/{project}")
    assert page.count('<span class="badge cancelled">') == 101
    assert "maskwright rounds list" in page


# What the forms do.


def test_rolling_back_serves_the_version_before_and_promoting_brings_the_newer_one_back(site, project):
    versions, register = f"/projects/{project}/versions", ServedRegister(site.store.database)
    page = site.post(f"/projects/{project}/rollback", versions, version=site.present(project))
    assert "The version before is in service again" in page
    assert register.current(project, "embedded").round_number == 6
    page = site.post(f"/projects/{project}/rounds/7/promote", versions, confirmed="yes")
    assert "in service from the next click on" in page
    assert register.current(project, "embedded").round_number == 7
    assert [notice.action for notice in site.notices] == ["refresh", "refresh"]


def test_the_figures_at_a_glance_are_those_of_the_version_in_service(site, project):
    at, store = f"/projects/{project}", site.store
    glance = r"IoU at 1 click (\S+) 0.520 before round 1"
    of = {one.number: one.metrics for one in RoundStore(store.database).list(project)}
    for rolled, expected in enumerate((of[7]["candidate"], of[7]["served"])):
        assert re.search(glance, words_of(site.get(at))).group(1) == f"{expected['iou_1']:.3f}", rolled
        ServedRegister(store.database).rollback(project, demo.BASE)
    while ServedRegister(store.database).current(project, demo.BASE).uri != demo.BASE:
        ServedRegister(store.database).rollback(project, demo.BASE)
    assert re.search(glance, words_of(site.get(at))).group(1) == "0.520"
    site.post(f"{at}/rounds/4/promote", at, confirmed="yes")
    assert re.search(glance, words_of(site.get(at))).group(1) == f"{of[4]['candidate']['iou_1']:.3f}"


def test_rolling_back_ends_at_the_base_model(site, project):
    versions, register = f"/projects/{project}/versions", ServedRegister(site.store.database)
    for _ in range(5):
        site.post(f"/projects/{project}/rollback", versions, version=site.present(project))
    assert register.current(project, "embedded").uri == "embedded"
    assert "Roll back" not in site.get(versions)
    page = site.post(f"/projects/{project}/rollback", f"/projects/{project}", 400, version=site.present(project))
    assert "no version to go back to" in page


def test_a_rollback_that_is_sent_twice_goes_back_once(site, project):
    form = {"form_token": site.token(f"/projects/{project}/versions"), "version": site.present(project)}
    first, second = (
        site.browser.post(f"/projects/{project}/rollback", data=form, headers=OURS).status_code for _ in range(2)
    )
    assert (first, second) == (303, 400)
    assert ServedRegister(site.store.database).current(project, "embedded").round_number == 6


def test_a_refused_candidate_is_promoted_only_by_who_says_so_twice(site, project):
    versions, register = f"/projects/{project}/versions", ServedRegister(site.store.database)
    page = site.post(f"/projects/{project}/rounds/4/promote", versions, 400)
    assert "the gate did not let round 4 through" in page
    assert register.current(project, "embedded").round_number == 7
    site.post(f"/projects/{project}/rounds/4/promote", f"/projects/{project}/rounds/4", confirmed="yes")
    assert register.current(project, "embedded").round_number == 4
    assert "in service" in words_of(site.get(f"/projects/{project}/rounds/4"))
    site.post(f"/projects/{project}/rounds/4/promote", versions, 400, confirmed="yes")


def test_a_round_without_a_candidate_cannot_be_promoted(site, project):
    number = demo.begin_round(site.store, project)
    site.post(f"/projects/{project}/rounds/{number}/promote", f"/projects/{project}", 400, confirmed="yes")
    site.post(f"/projects/{project}/rounds/99/promote", f"/projects/{project}", 404, confirmed="yes")


def test_what_is_damaged_is_not_put_into_service(site, project):
    register = ServedRegister(site.store.database)
    for folder in ("adapters", "classes"):
        before = register.current(project, "embedded")
        for path in (site.settings.home / folder).iterdir():
            path.write_bytes(path.read_bytes()[:-1])
        page = site.post(f"/projects/{project}/rounds/6/promote", f"/projects/{project}", 503, confirmed="yes")
        assert "This was not done" in page
        assert register.current(project, "embedded") == before
        shutil.rmtree(site.settings.home / folder)
        site.post(f"/projects/{project}/rounds/6/promote", f"/projects/{project}", 503, confirmed="yes")


def test_a_wish_that_is_forgotten_by_now_is_not_shown_as_open(site):
    at = f"/projects/{(project := demo.add_project(site.store, 'New', number=9, annotated=0))}"
    notes = ProjectNotes(site.store.database)
    notes.put(project, WANTED, {"at": to_text(now() - 10**6)})
    assert "One was asked for at" in site.get(at)
    notes.put(project, WANTED, {"at": to_text(now() - 2 * 3600 * 10**6)})
    assert "One was asked for at" not in site.get(at)


def test_train_now_is_remembered_and_wakes_a_worker_once(site, project):
    at, store = f"/projects/{project}", site.store
    assert "no correction that the last round did not have" in site.post(f"{at}/train", at, 400)
    store.put_tasks(project, [demo.task(61, annotated=True)])
    assert "1 correction to learn from" in words_of(site.get(at))
    assert "A round was asked for" in site.post(f"{at}/train", at)
    assert "One was asked for at" in site.get(at)
    assert (
        ProjectNotes(store.database).get(project, WANTED)["at"] > RoundStore(store.database).list(project)[0].created_at
    )
    demo.begin_round(store, project)
    assert "under way already" in site.post(f"{at}/train", at)
    assert [(n.action, n.platform, n.number) for n in site.notices] == [("start-training", "label-studio", 12)]


def test_a_running_round_is_asked_to_stop(site, project):
    number = demo.begin_round(site.store, project)
    page = site.post(f"/projects/{project}/rounds/{number}/cancel", f"/projects/{project}")
    assert "asked to stop" in page
    assert RoundStore(site.store.database).get(project, number).cancel_requested


def test_settings_are_kept_and_senseless_ones_refused_whole(site, project):
    notes, page = ProjectNotes(site.store.database), f"/projects/{project}"
    chosen = {"mode": "automatic", "review_share": "0.25", "accept_threshold": "0.8", "acquisition": "bald",
              "corrections_per_round": "50", "group_field": " site "}  # fmt: skip
    assert "The settings are kept" in site.post(f"{page}/settings", page, **chosen)
    kept = read_learning(notes, project)
    assert (kept.mode, kept.review_share, kept.acquisition, kept.corrections_per_round, kept.group_field) == (
        "automatic", 0.25, "bald", 50, "site",
    )  # fmt: skip
    for wrong in ({"review_share": "2"}, {"mode": "free"}, {"accept_threshold": "nan"}, {"corrections_per_round": "x"},
                  {"acquisition": BAD}):  # fmt: skip
        told = site.post(f"{page}/settings", page, 400, **chosen | wrong)
        assert next(iter(wrong)) in told
        assert "<script>alert" not in told
    assert read_learning(notes, project) == kept


def test_what_the_machine_annotated_is_told(site, project):
    assert "by the machine" not in site.get(f"/projects/{project}")
    ProjectNotes(site.store.database).put(project, "machine-annotations", {"4": 11, "5": 12})
    assert "60 2 by the machine, 100 tasks known" in words_of(site.get(f"/projects/{project}"))


def test_settings_that_cannot_be_read_do_not_hide_the_project(site, project):
    ProjectNotes(site.store.database).put(project, "learning", {"mode": "from the future"})
    page = site.get(f"/projects/{project}")
    assert "saving replaces what is kept" in page
    site.post(f"/projects/{project}/settings", f"/projects/{project}", mode="assisted")
    assert read_learning(ProjectNotes(site.store.database), project).mode == "assisted"


FILLED = st.dictionaries(
    st.sampled_from(
        ["version", "confirmed", "mode", "review_share", "acquisition", "corrections_per_round", "group_field"]
    ),
    st.text(max_size=20) | st.sampled_from(["1", "7", "yes", "1e999", "-1", "9" * 400, "automatic", "\0", "a" * 5000]),
)
FORMS = st.sampled_from(["train", "settings", "rollback", "rounds/7/promote", "rounds/4/promote", "rounds/9/cancel"])


def test_no_form_however_it_is_filled_in_is_a_fault_of_ours(site, project):
    token = site.token(f"/projects/{project}")

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(form=FORMS, fields=FILLED)
    def check(form: str, fields: dict[str, str]) -> None:
        data = {"form_token": token, **fields}
        answer = site.browser.post(f"/projects/{project}/{form}", data=data, headers=OURS)
        assert answer.status_code in (303, 400, 404), answer.text
        site.get(f"/projects/{project}")

    check()


# Who may send them.


@pytest.mark.parametrize(
    ("headers", "change"),
    [
        ({"Origin": "http://evil.example"}, {}),
        ({"Origin": "null"}, {}),
        ({"Origin": "http://localhost.evil.example"}, {}),
        ({"Referer": "http://evil.example/http://localhost/"}, {}),
        ({"Origin": "http://[", "Referer": "http://localhost/"}, {}),
        ({}, {}),
        (OURS, {"form_token": ""}),
        (OURS, {"form_token": "0" * 64}),
        (OURS, {"form_token": "é"}),
    ],
)
def test_a_form_of_a_foreign_page_does_nothing(site, project, headers, change):
    token = site.token(f"/projects/{project}")
    sent = {"form_token": token, "version": site.present(project)} | change
    answer = site.browser.post(f"/projects/{project}/rollback", data=sent, headers=headers)
    assert answer.status_code == 403
    assert "nothing was done" in answer.text
    assert ServedRegister(site.store.database).current(project, "embedded").round_number == 7


def test_the_token_of_one_browser_is_of_no_use_in_another_nor_after_a_restart(site, project):
    token = site.token(f"/projects/{project}")
    path, data = f"/projects/{project}/rollback", {"form_token": token, "version": site.present(project)}
    assert site.app.test_client().post(path, data=data, headers=OURS).status_code == 403
    restarted = create_app(site.services, Metrics(), []).test_client()
    cookie = site.browser.get_cookie("maskwright-forms")
    assert cookie is not None
    restarted.set_cookie("maskwright-forms", cookie.value)
    assert restarted.post(path, data=data, headers=OURS).status_code == 403
    assert site.browser.post(path, data=data, headers=OURS).status_code == 303


def test_the_cookie_of_forms_is_for_our_own_pages_and_no_script(site, project):
    header = site.browser.get(f"/projects/{project}").headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    assert "Set-Cookie" not in site.browser.get(f"/projects/{project}").headers


def test_nothing_is_shown_or_done_without_the_credentials_of_the_server(tmp_path, seeded, basic: Callable[..., Any]):
    guarded = Site(tmp_path / "home", username="u", password="p")
    shutil.copytree(seeded[0], guarded.settings.home)
    project = seeded[1]
    picture = f"/projects/{project}/rounds/7/gallery/worst-01.png"
    for path in [*pages(project), picture, "/dashboard/style.css"]:
        assert guarded.browser.get(path).status_code == 401
    answer = guarded.browser.post(
        f"/projects/{project}/rollback", data={"version": guarded.present(project)}, headers=OURS
    )
    assert answer.status_code == 401
    assert guarded.browser.get(picture, headers=basic("u", "p")).status_code == 200
    assert all(value != "p" for value in re.findall(r'value="([^"]*)"', guarded.browser.get("/").text))


def test_a_name_that_is_not_loopbacks_is_refused_without_credentials(site, project):
    assert site.browser.get("/", headers={"Host": "rebound.example"}).status_code == 403


# When something is wrong.


def test_a_damaged_database_is_a_page_that_says_so(site, project):
    site.opener.close()
    path = site.settings.home / "corrections.sqlite3"
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)
    path.write_bytes(b"this is no database" * 1000)
    for address in ("/", f"/projects/{project}", f"/projects/{project}/progress"):
        page = site.get(address, status=503)
        assert "maskwright restore" in page
        assert str(path.parent) not in page


def test_a_database_that_lost_its_file_is_not_taken_for_a_new_one(site, project):
    site.opener.close()
    path = site.settings.home / "corrections.sqlite3"
    path.unlink()
    path.with_name(f"{path.name}-wal").write_bytes(b"x")
    assert "is gone but its journal is still there" in site.get("/", status=503)


def test_unknown_projects_rounds_and_numbers_beyond_reason_are_not_found(site, project):
    for path in ("/projects/99", f"/projects/{project}/rounds/99", "/projects/99/queue", "/projects/99/versions"):
        assert "no project" in site.get(path, 404) or "no round" in site.get(path, 404)
    for path in (f"/projects/{10**30}", f"/projects/{project}/rounds/{10**30}", "/projects/-1", "/projects/x"):
        site.get(path, 404)
