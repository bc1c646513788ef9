"""Model URIs."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.models.families import FAMILIES
from maskwright.models.uri import ROLES, SCHEMES, ModelURI, parse_model_uri

HEAD = "0123456789abcdef" * 2
WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,11}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classical", ModelURI("classical")),
        ("embedded", ModelURI("embedded")),
        (" embedded ", ModelURI("embedded")),
        ("embedded:/w/mine@2.safetensors", ModelURI("embedded", "/w/mine@2.safetensors")),
        ("sam:facebook/sam-vit-base", ModelURI("sam", "facebook/sam-vit-base")),
        ("sam:facebook/sam-vit-base@refs/pr/3", ModelURI("sam", "facebook/sam-vit-base", "refs/pr/3")),
        ("sam-hq:syscv-community/sam-hq-vit-base@main", ModelURI("sam-hq", "syscv-community/sam-hq-vit-base", "main")),
        ("sam2:/models/sam2", ModelURI("sam2", "/models/sam2")),
        ("sam2:/models/a@b", ModelURI("sam2", "/models/a@b")),
        ("sam3:./sam3", ModelURI("sam3", "./sam3")),
        ("sam:C+D/e", ModelURI("sam", "C+D/e")),
        ("segment-anything:/w/sam_vit_b@1.pth", ModelURI("segment-anything", "/w/sam_vit_b@1.pth")),
        ("segment-anything-package:w.pth", ModelURI("segment-anything-package", "w.pth")),
        ("sam:o/n@v1+adapter:cells-3", ModelURI("sam", "o/n", "v1", "cells-3")),
        ("embedded+adapter:a", ModelURI("embedded", adapter="a")),
        (f"embedded+classes:{HEAD}", ModelURI("embedded", classes=HEAD)),
        (f"classical+classes:{HEAD}", ModelURI("classical", classes=HEAD)),
        (f"sam:o/n@v1+adapter:a+classes:{HEAD}", ModelURI("sam", "o/n", "v1", "a", HEAD)),
    ],
)
def test_every_form_is_understood_and_written_back(text, expected):
    parsed = parse_model_uri(text)
    assert parsed == expected
    assert str(parsed) == text.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"known forms: embedded\[:/path/to/weights.safetensors\], .*classical, sam:<hub id or folder>"),
        ("yolo:v8", "unknown model 'yolo:v8'"),
        ("SAM:o/n", "unknown model"),
        ("sam", r"write sam:<hub id or folder>\[@revision\]"),
        ("sam:", r"write sam:<hub id or folder>\[@revision\]"),
        ("sam:@main", "write sam:"),
        ("sam:o/n@", "after '@'"),
        ("sam:o/n@a b", "after '@'"),
        ("classical:x", "takes nothing after it"),
        ("embedded:", r"write embedded\[:/path/to/weights.safetensors\]"),
        ("segment-anything:", "write segment-anything:/path/to/checkpoint.pth"),
        ("sam:o/n+adapter:", "after '\\+adapter:'"),
        ("sam:o/n+adapter:a/b", "after '\\+adapter:'"),
        ("sam:o/n+classes:", "after '\\+classes:'"),
        ("sam:o/n+classes:12", "32 hex digits"),
        (f"sam:o/n+classes:{HEAD}+adapter:a", "comes last"),
        ("sam:/a\0b", "write sam:"),
    ],
)
def test_a_malformed_uri_is_refused_with_the_form_to_write(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_model_uri(text)


@given(
    scheme=st.sampled_from([scheme for scheme in ROLES["segmenter"] if SCHEMES[scheme] == "hub"]),
    owner=WORD,
    name=WORD,
    revision=st.none() | WORD,
    adapter=st.none() | WORD,
    classes=st.none() | st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
)
def test_writing_and_parsing_are_inverse(scheme, owner, name, revision, adapter, classes):
    uri = ModelURI(scheme, f"{owner}/{name}", revision, adapter, classes)
    assert parse_model_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("role", "text", "expected"),
    [
        ("tagger", "clip:openai/clip-vit-large-patch14", ModelURI("clip", "openai/clip-vit-large-patch14")),
        ("tagger", "ram:/w/ram_plus.pth", ModelURI("ram", "/w/ram_plus.pth")),
        ("captioner", "none", ModelURI("none")),
        ("captioner", "blip2:o/n@v1", ModelURI("blip2", "o/n", "v1")),
        ("language", "openai:m@http://localhost:8000/v1", ModelURI("openai", "m", server="http://localhost:8000/v1")),
        ("language", "openai:a/b:7b@x@https://h/v1/", ModelURI("openai", "a/b:7b@x", server="https://h/v1")),
        ("language", "hf:/models/qwen", ModelURI("hf", "/models/qwen")),
        ("detector", "sam3:facebook/sam3", ModelURI("sam3", "facebook/sam3")),
        ("dense", "gem:o/n", ModelURI("gem", "o/n")),
    ],
)
def test_every_stage_names_its_model_in_the_same_way(role, text, expected):
    parsed = parse_model_uri(text, role)
    assert parsed == expected
    assert parse_model_uri(str(parsed), role) == parsed


@pytest.mark.parametrize(
    ("role", "text", "message"),
    [
        ("segmenter", "clip:o/n", "unknown model 'clip:o/n'; known forms: embedded"),
        ("detector", "sam:o/n", "unknown detector 'sam:o/n'; known forms: embedded.*, grounding-dino:<hub id"),
        ("language", "openai:m", "write openai:<model>@https://<server>/v1"),
        ("language", "openai:@https://h/v1", "write openai:"),
        ("language", "openai:m@https://h/v1?key=1", "write openai:"),
        ("language", "openai:m@ftp://h/v1", "write openai:"),
        ("tagger", "clip:o/n+adapter:a", "only segmenters take"),
    ],
)
def test_a_stage_refuses_what_cannot_play_its_part(role, text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_model_uri(text, role)


def test_a_password_in_a_server_s_address_is_refused_and_not_repeated():
    with pytest.raises(InvalidInput, match="MASKWRIGHT_LANGUAGE_API_KEY") as caught:
        parse_model_uri("openai:m@https://user:sesame@host/v1", "language")
    assert "sesame" not in str(caught.value)


@given(st.sampled_from(sorted(ROLES)), st.text(max_size=30))
def test_no_server_address_breaks_the_parser(role, text):
    with contextlib.suppress(InvalidInput):
        uri = parse_model_uri(f"openai:m@https://{text}", role)
        assert parse_model_uri(str(uri), role) == uri


@given(st.text(max_size=40) | st.builds("{}:{}".format, st.sampled_from(sorted(SCHEMES)), st.text(max_size=20)))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(InvalidInput):
        uri = parse_model_uri(text)
        assert parse_model_uri(str(uri)) == uri


def test_every_scheme_has_a_family():
    assert set(FAMILIES) == set(ROLES["segmenter"])
