"""Models as a person asks after them: what there is, how it gets here, whether it works."""

import json

import pytest
from typer.testing import CliRunner

from maskwright.cli import app
from maskwright.doctor import stage_findings
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.roles import first_role
from maskwright.models.uri import ROLES
from maskwright.settings import read_settings

COMMIT = "a" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache, empty, in a folder of the test's own."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASKWRIGHT_OFFLINE", "true")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def hold(cache):
    """A function of a hub id and a configuration: the cache holds such a model from then on."""

    def put(hub_id, **config):
        root = cache / f"models--{hub_id.replace('/', '--')}"
        snapshot = root / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(COMMIT)
        (snapshot / "config.json").write_text(json.dumps(config))
        (snapshot / "model.safetensors").write_bytes(bytes(1000))
        return snapshot

    return put


def run(*arguments):
    return CliRunner().invoke(app, ["models", *arguments])


def listed():
    answer = run("list", "--json")
    assert answer.exit_code == 0
    return json.loads(answer.output)


def test_every_part_is_listed_with_every_scheme_and_what_is_set(cache, monkeypatch):
    monkeypatch.setenv("MASKWRIGHT_CAPTIONER", "blip:Salesforce/blip-image-captioning-large")
    document = listed()
    assert {role: tuple(one["scheme"] for one in part["schemes"]) for role, part in document.items()} == ROLES
    assert document["captioner"]["now"] == "blip:Salesforce/blip-image-captioning-large"
    assert document["detector"]["setting"] == "MASKWRIGHT_DETECTOR"
    assert document["detector"]["now"] == "embedded"


def test_every_public_model_is_named_in_a_form_that_is_understood(cache):
    from maskwright.models.uri import parse_model_uri

    for role, part in listed().items():
        for entry in part["schemes"]:
            for public in entry["public"]:
                assert parse_model_uri(public["uri"], role).is_hub_id


def test_what_the_cache_holds_is_shown_with_its_commit_for_every_part_that_it_can_play(cache, hold):
    hold("someone/clip", model_type="clip")
    hold("someone/writer", model_type="llama", architectures=["LlamaForCausalLM"])
    hold("someone/other", model_type="nothing-we-know")
    shown = [
        (role, found["uri"]) for role, part in listed().items() for one in part["schemes"] for found in one["here"]
    ]
    clip = f"someone/clip@{COMMIT}"
    assert sorted(shown) == sorted(
        [
            ("tagger", f"clip:{clip}"),
            ("language", f"hf:someone/writer@{COMMIT}"),
            *(("dense", f"{scheme}:{clip}") for scheme in ("maskclip", "gem", "sclip", "naclip", "clearclip")),
        ]
    )
    assert f"on this machine: clip:{clip}" in run("list").output


def test_half_a_download_is_not_on_this_machine(cache, hold):
    (hold("someone/clip", model_type="clip") / "model.safetensors").unlink()
    assert not any(one["here"] for part in listed().values() for one in part["schemes"])


def test_pulling_what_is_here_says_where_and_needs_no_hub(cache, hold):
    folder = hold("someone/clip", model_type="clip")
    answer = run("pull", "clip:someone/clip", "--json")
    assert json.loads(answer.output) == {
        "uri": "clip:someone/clip",
        "path": str(folder),
        "content": f"commit:{COMMIT}",
    }


def test_offline_pulling_says_what_to_do(cache):
    with pytest.raises(ModelUnavailable) as caught:
        CliRunner().invoke(app, ["models", "pull", "owlv2:google/owlv2-base"], catch_exceptions=False)
    assert str(caught.value) == (
        "model owlv2:google/owlv2-base: weights of google/owlv2-base at revision 'main' are not on this machine, and "
        "the model hub is switched off here; run 'maskwright models pull owlv2:google/owlv2-base' where the hub can be "
        "reached, or give a folder that holds the model: owlv2:/path/to/folder"
    )


def test_another_family_s_model_is_refused(cache, hold):
    hold("someone/clip", model_type="clip")
    with pytest.raises(ModelUnavailable, match=r"config\.json says model_type 'clip'"):
        CliRunner().invoke(app, ["models", "pull", "owlv2:someone/clip"], catch_exceptions=False)


def test_there_is_nothing_to_fetch_of_servers_and_of_what_travels_with_the_package(cache):
    for uri in ("openai:tiny@http://127.0.0.1:1/v1", "sentence-matcher"):
        assert "nothing to fetch" in run("pull", uri).output


@pytest.mark.parametrize(
    ("uri", "role"),
    [("embedded", "segmenter"), ("sam3:o/n", "segmenter"), ("hf:o/n", "language"), ("siglip:o/n", "tagger")],
)
def test_a_uri_alone_means_the_part_that_one_thinks_of_first(uri, role):
    assert first_role(uri) == role


def test_a_uri_of_no_part_says_in_one_line_what_was_meant_or_where_the_known_forms_are():
    with pytest.raises(InvalidInput) as caught:
        first_role("qqq:x")
    assert str(caught.value) == "unknown model 'qqq:x'; 'maskwright models list' shows the known forms"
    with pytest.raises(InvalidInput, match="did you mean grounding-dino:<hub id or folder>"):
        first_role("grounding-dyno:IDEA-Research/x")


def test_a_check_has_the_model_answer_and_tells_version_seconds_and_memory(cache):
    answer = run("check", "embedded", "--role", "tagger", "--json")
    assert answer.exit_code == 0
    (result,) = json.loads(answer.output)
    assert result["ok"]
    assert result["version"].startswith("efficientnet-lite0-")
    assert result["answer"]
    assert result["answer_seconds"] > 0
    assert result["memory_mb"] >= 0


def test_a_check_of_all_that_is_set_goes_on_after_one_that_fails(cache, monkeypatch):
    monkeypatch.setenv("MASKWRIGHT_DENSE", "gem:openai/clip-vit-large-patch14")
    monkeypatch.setenv("MASKWRIGHT_MODEL", "classical")
    monkeypatch.setenv("MASKWRIGHT_LANGUAGE", "sentence-matcher")
    answer = run("check", "--json")
    assert answer.exit_code == 1
    results = {result["role"]: result for result in json.loads(answer.output)}
    assert {role: result["ok"] for role, result in results.items()} == {
        "segmenter": True, "tagger": True, "language": True, "detector": True, "dense": False,
    }  # fmt: skip
    assert "run 'maskwright models pull gem:openai/clip-vit-large-patch14'" in results["dense"]["error"]
    assert results["language"]["answer"] == "a puppy is: dog"


def test_what_fails_a_check_is_said_once(cache, caplog):
    answer = run("check", "gem:openai/clip-vit-large-patch14")
    assert answer.output.count("are not on this machine") == 1
    assert not caplog.records


def test_a_model_that_breaks_when_asked_fails_the_check_in_words(cache, monkeypatch):
    from maskwright.models.tagger import ImageNetTagger

    def break_down(*args, **options):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(ImageNetTagger, "tags", break_down)
    answer = run("check", "embedded", "--role", "tagger", "--json")
    assert answer.exit_code == 1
    (result,) = json.loads(answer.output)
    assert result["error"].endswith("failed when it was asked (RuntimeError: shapes do not fit)")


def test_the_doctor_says_which_stages_lack_their_model(cache, hold):
    hold("someone/clip", model_type="clip")
    settings = read_settings(
        tagger="clip:someone/clip", captioner="blip:o/n", language="openai:tiny@http://127.0.0.1:1/v1", dense="sam:o/n"
    )
    found = {finding.name: finding for finding in stage_findings(settings)}
    assert {name: finding.status for name, finding in found.items()} == {
        "tagger": "ok", "captioner": "fail", "language": "ok", "dense": "fail",
    }  # fmt: skip
    assert "run 'maskwright models pull blip:o/n'" in found["captioner"].remedy
    assert "unknown dense 'sam:o/n'" in found["dense"].remedy


def test_a_part_that_does_not_exist_is_refused(cache):
    with pytest.raises(InvalidInput, match="unknown part 'painter'"):
        CliRunner().invoke(app, ["models", "check", "--role", "painter"], catch_exceptions=False)
