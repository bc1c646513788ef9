"""A project of Label Studio that was worked on, and a storm of the events that its annotators would have caused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
from sqlalchemy import select

from maskwright.store.corrections import CorrectionsStore, open_store
from maskwright.store.schema import annotation_rows, corrections
from maskwright.store.times import to_microseconds

CONFIG = """<View><Image name="image" value="$image"/>
  <RectangleLabels name="rect" toName="image"><Label value="Star"/></RectangleLabels>
  <BrushLabels name="brush" toName="image"><Label value="Star"/></BrushLabels></View>"""
TASKS, PER_TASK, EVENTS_EACH, DELIVERIES = 100, 2, 5, 3
NOT_IN_EVENTS = ("created_username", "created_ago")
Delivery = tuple[dict[str, Any], bool]


def drawn(x: float) -> list[dict[str, Any]]:
    common = {"to_name": "image", "original_width": 40, "original_height": 30, "image_rotation": 0}
    box = {"x": x % 80, "y": 10.5, "width": 12.25, "height": 9, "rotation": 0, "rectanglelabels": ["Star"]}
    painted = {"format": "rle", "rle": [0, 0, 18, int(x) % 256, *range(200)], "brushlabels": ["Star"]}
    return [
        {"id": "r1", "from_name": "rect", "type": "rectanglelabels", "value": box, **common},
        {"id": "b1", "from_name": "brush", "type": "brushlabels", "value": painted, **common},
    ]


def worked_on_project(api: httpx.Client) -> int:
    """200 annotations, some of them then edited, deleted, skipped, or with drafts beside, and a task deleted."""
    project = int(api.post("/api/projects/", json={"title": "storm", "label_config": CONFIG}).json()["id"])
    tasks = [
        {
            "data": {"image": f"/data/upload/{project}/{number}.png"},
            "annotations": [{"result": drawn(number + 0.5 * n), "lead_time": 1.5 * n} for n in range(PER_TASK)],
            "predictions": [{"result": drawn(number), "model_version": "embedded-1", "score": 0.5}],
        }
        for number in range(TASKS)
    ]
    api.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
    return project


def work_on(api: httpx.Client, project: int) -> None:
    """What people do while events are lost."""
    found = listed(api, project)
    done: list[httpx.Response] = []
    for number, task in enumerate(found[:8]):
        first = task["annotations"][0]["id"]
        done.append(api.patch(f"/api/annotations/{first}/", json={"result": drawn(70 + number), "lead_time": 9.5}))
    for task in found[8:12]:
        done.append(api.delete(f"/api/annotations/{task['annotations'][1]['id']}/"))
    for task in found[12:15]:
        done.append(api.post(f"/api/tasks/{task['id']}/annotations/", json={"result": [], "was_cancelled": True}))
    for task in found[15:18]:
        done.append(api.post(f"/api/tasks/{task['id']}/drafts", json={"result": drawn(3), "lead_time": 2}))
    for task in found[18:20]:
        proposed = {"result": drawn(5), "lead_time": 4.5, "parent_prediction": task["predictions"][0]["id"]}
        done.append(api.post(f"/api/tasks/{task['id']}/annotations/", json=proposed))
    done.append(api.delete(f"/api/tasks/{found[20]['id']}/"))
    for answer in done:
        answer.raise_for_status()


def listed(api: httpx.Client, project: int) -> list[dict[str, Any]]:
    answer = api.get("/api/tasks", params={"project": project, "fields": "all", "page_size": 1000})
    answer.raise_for_status()
    return sorted(answer.json()["tasks"], key=lambda task: task["id"])


def storm(api: httpx.Client, project: int, before: list[dict[str, Any]], seed: int) -> list[Delivery]:
    """Five events per annotation, each three times, shuffled, a tenth of the deliveries lost, a fifth unproven.

    Four of the five are of edits whose states the platform has since replaced; ``before`` holds what was deleted since.
    """
    random_ = random.Random(seed)
    about = api.get(f"/api/projects/{project}/").json() | {"token": "0123456789abcdef0123456789abcdef01234567"}
    there = {a["id"]: (task, a) for task in listed(api, project) for a in task["annotations"]}
    was = {a["id"]: (task, a) for task in before for a in task["annotations"]}
    events = []
    for number, (task, annotation) in (was | there).items():
        states = [annotation if back == 0 else earlier(annotation, back) for back in reversed(range(EVENTS_EACH))]
        for n, state in enumerate(states):
            action = "ANNOTATION_UPDATED" if n else "ANNOTATION_CREATED"
            told = {key: value for key, value in state.items() if key not in NOT_IN_EVENTS}
            told |= {"prediction": {}, "result_count": len(told["result"]), "unique_id": f"u-{number}"}
            shown = {key: task[key] for key in ("id", "data", "created_at", "updated_at", "project")}
            events.append({"action": action, "annotation": told, "task": shown, "project": about})
        if number not in there:
            events[-1] = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": number}], "project": about}
    deliveries = [(event, random_.random() < 0.8) for event in events for _ in range(DELIVERIES)]
    random_.shuffle(deliveries)
    assert len(events) >= 1000
    return deliveries[: int(0.9 * len(deliveries))]


def earlier(annotation: dict[str, Any], back: int) -> dict[str, Any]:
    moment = datetime.fromisoformat(annotation["updated_at"]) - timedelta(milliseconds=back)
    return annotation | {"updated_at": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "result": drawn(50 + back)}


class Poster:
    """Delivers events as Label Studio does, a second each; remembers which states of annotations were acknowledged."""

    def __init__(self, deliveries: list[Delivery], auth: tuple[str, str]) -> None:
        self._left = iter(deliveries)
        self._auth = auth
        self._lock = threading.Lock()
        self.acknowledged: set[tuple[int, int]] = set()
        self.answered = 0
        self.refused = 0
        self.seconds: list[float] = []
        self.finished = False

    def post(self, url: str, threads: int, until: Callable[[], bool] = lambda: False) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self._post, url, until) for _ in range(threads)]:
                done.result()

    def _post(self, url: str, until: Callable[[], bool]) -> None:
        with httpx.Client(base_url=url, timeout=1.0) as client:
            while not until():
                with self._lock:
                    delivery = next(self._left, None)
                if delivery is None:
                    self.finished = True
                    return
                body, proven = delivery
                started = time.perf_counter()
                try:
                    answer = client.post("/webhook", content=orjson.dumps(body), auth=self._auth if proven else None)
                except httpx.HTTPError:
                    continue  # as Label Studio: never again
                with self._lock:
                    self.seconds.append(time.perf_counter() - started)
                    self.answered += answer.status_code == 200
                    self.refused += answer.status_code != 200
                    if answer.status_code == 200 and proven and "annotation" in body:
                        state = body["annotation"]
                        self.acknowledged.add((state["id"], to_microseconds(state["updated_at"])))

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]


def kept_states(home: Path) -> set[tuple[int, int]]:
    """(number, updated_at) of every state of an annotation in the database of a stopped server."""
    store = open_store(home)
    try:
        store.database.check()
        query = select(annotation_rows.c.number, corrections.c.updated_at).join(
            corrections, corrections.c.annotation_id == annotation_rows.c.id
        )
        with store.database.read() as connection:
            return {(row.number, row.updated_at) for row in connection.execute(query)}
    finally:
        store.close()


def assert_equal(store: CorrectionsStore, api: httpx.Client, project: int, server: str) -> int:
    """Every annotation and draft of the platform is in force in the store, byte for value, and nothing else is."""
    row = store.find_project("label-studio", server, project)
    assert row is not None
    kept = {}
    for head in store.heads(row.id):
        key = head.stored.kind == "draft", head.stored.number
        kept[key] = (head.task_number, head.stored.kind, orjson.loads(head.stored.document))
    shown = dict(platform_states(api, project))
    assert kept.keys() == shown.keys()
    for key, state in shown.items():
        assert kept[key] == state
    documents = [orjson.loads(document) for document in store.task_documents(row.id)]
    assert {d["id"]: d["data"] for d in documents} == {task["id"]: task["data"] for task in listed(api, project)}
    return len(shown)


def platform_states(api: httpx.Client, project: int) -> Iterator[tuple[tuple[bool, int], tuple[int, str, Any]]]:
    for task in listed(api, project):
        for annotation in task["annotations"]:
            kind = "skipped" if annotation["was_cancelled"] else "submitted"
            document = {key: value for key, value in annotation.items() if key not in NOT_IN_EVENTS}
            yield (False, annotation["id"]), (task["id"], kind, document)
        for draft in api.get(f"/api/tasks/{task['id']}/drafts").json() if task["draft_exists"] else ():
            yield (True, draft["id"]), (task["id"], "draft", {k: v for k, v in draft.items() if k != "created_ago"})
