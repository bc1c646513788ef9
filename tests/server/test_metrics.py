from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def samples(client):
    text = client.get("/metrics").text
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
    }


def test_every_stage_is_there_before_it_was_ever_used(make_app):
    seen = samples(make_app().test_client())
    for stage in ("fetch", "decode_image", "encode", "mask_decode", "upsample", "answer"):
        assert seen["maskwright_stage_seconds_count", (("stage", stage),)] == 0


def test_observed_stages_and_answered_requests_are_counted(make_app):
    client = make_app().test_client()
    client.get("/stage")
    client.get("/fail/NotFound")
    seen = samples(client)
    assert seen["maskwright_stage_seconds_count", (("stage", "encode"),)] == 1
    assert seen["maskwright_stage_seconds_sum", (("stage", "encode"),)] == 0.2
    assert seen["maskwright_requests_total", (("method", "GET"), ("rule", "/stage"), ("status", "200"))] == 1
    assert seen["maskwright_requests_total", (("method", "GET"), ("rule", "/fail/<name>"), ("status", "404"))] == 1
    assert seen["maskwright_requests_in_flight", ()] == 1, "the one that asks"


def test_strangers_cannot_make_up_time_series(make_app):
    client = make_app(username="u", password="p").test_client()
    for index in range(30):
        client.open(f"/guess/{index}", method=f"M{index}")
    seen = samples(make_app().test_client())
    assert seen
    rules = {dict(labels).get("rule") for _, labels in seen}
    assert not any("guess" in rule for rule in rules if rule)


def test_queue_depth_and_jobs_are_read_when_asked(make_app):
    seen = samples(make_app().test_client())
    assert seen["maskwright_queue_depth", ()] == 3
    assert seen["maskwright_loaded", ()] == 1


def test_two_applications_in_one_process_count_apart(make_app):
    first, second = make_app().test_client(), make_app().test_client()
    first.get("/stage")
    assert samples(second)["maskwright_stage_seconds_count", (("stage", "encode"),)] == 0
