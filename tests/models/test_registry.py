"""Models are loaded once, named without being loaded, and refused with a reason."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.families import FAMILIES, Family
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """The hub's local cache, in a folder of the test's own."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return cache


def fill_cache(cache, hub_id, folder, commit="a" * 40, revision="main"):
    """Lay a folder out as the hub's client caches a download."""
    root = cache / f"models--{hub_id.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit)
    shutil.copytree(folder, root / "snapshots" / commit, dirs_exist_ok=True)
    return root


class SlowSegmenter:
    """A loader that takes its time, counts its calls, and fails the first ``failures`` times."""

    calls = 0
    failures = 0
    error: Exception = RuntimeError("/secret/path")

    def __init__(self):
        kind = type(self)
        kind.calls += 1
        time.sleep(0.05)
        if kind.calls <= kind.failures:
            raise kind.error
        self.name, self.version, self.embedding_version, self.embedding_nbytes = "slow", "slow-1", "slow-0", 7

    def encode(self, images):
        raise NotImplementedError

    def decode(self, embedding, prompts, *, multimask_output=False):
        raise NotImplementedError

    def upsample(self, embedding, low_res_logits):
        raise NotImplementedError


@pytest.fixture
def slow(monkeypatch):
    kind = type("Slow", (SlowSegmenter,), {})
    module = type(sys)("slow_family")
    module.Slow = kind
    monkeypatch.setitem(sys.modules, "slow_family", module)
    return kind


@pytest.fixture
def slow_registry(slow, settings):
    return ModelRegistry(settings, families={**FAMILIES, "classical": Family("slow_family", "Slow")})


def test_a_model_is_loaded_once_for_threads_that_ask_together(slow, slow_registry):
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait()
        return slow_registry.segmenter("classical")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(set(map(id, found))) == 1
    assert slow.calls == slow_registry.load_count == 1


def test_a_real_model_is_loaded_once_for_threads_that_ask_together(registry, tiny_folders, picture):
    uri = f"sam:{tiny_folders['sam']}"
    image, prompt = picture(20, 30), Prompt.from_points([(5, 5, 1)])

    def ask(_):
        segmenter = registry.segmenter(uri)
        return segmenter, segmenter.decode(segmenter.encode([image])[0], [prompt]).low_res_logits

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(16)))
    assert len({id(segmenter) for segmenter, _ in found}) == 1
    assert registry.load_count == 1
    for _, logits in found:
        np.testing.assert_allclose(logits, found[0][1], atol=1e-5)


def test_different_models_load_beside_each_other(registry, tiny_folders):
    first = registry.segmenter(f"sam:{tiny_folders['sam']}")
    second = registry.segmenter(f"sam2:{tiny_folders['sam2']}")
    assert registry.load_count == 2
    assert [description.name for description in registry.loaded()] == [first.name, second.name]


def test_everyone_who_waits_hears_of_a_failed_load_and_the_next_call_tries_again(slow, slow_registry):
    slow.failures = 1
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        with pytest.raises(ModelUnavailable, match=r"could not be loaded \(RuntimeError\)") as caught:
            slow_registry.segmenter("classical")
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        messages = set(pool.map(ask, range(4)))
    assert slow.calls == 1
    assert "/secret" not in "".join(messages)
    assert slow_registry.load_count == 0
    assert slow_registry.segmenter("classical").name == "slow"
    assert (slow.calls, slow_registry.load_count) == (2, 1)


def test_a_reason_written_for_the_user_is_passed_on(slow, slow_registry):
    slow.failures, slow.error = 1, ModelUnavailable("the disk is on holiday")
    with pytest.raises(ModelUnavailable, match="the disk is on holiday"):
        slow_registry.segmenter("classical")


@pytest.mark.parametrize("scheme", ["sam", "sam-hq", "sam2", "sam3"])
def test_a_model_is_described_as_it_will_report_itself(scheme, registry, settings, tiny_folders):
    uri = f"{scheme}:{tiny_folders[scheme]}"
    described = registry.describe(uri)
    assert registry.load_count == 0
    segmenter = registry.segmenter(uri)
    loaded = (segmenter.name, segmenter.version, segmenter.embedding_version, segmenter.embedding_nbytes)
    assert loaded == (described.name, described.version, described.embedding_version, described.embedding_nbytes)
    assert registry.describe(uri) == described == ModelRegistry(settings).describe(uri)


@pytest.mark.parametrize("runtime", ["segment-anything", "segment-anything-package"])
def test_a_checkpoint_file_is_described_as_it_will_report_itself(runtime, registry, original_sam):
    uri = f"{runtime}:{original_sam[1]}"
    described = registry.describe(uri)
    segmenter = registry.segmenter(uri)
    assert (segmenter.version, segmenter.embedding_version) == (described.version, described.embedding_version)
    assert segmenter.encode([np.zeros((8, 8, 3), np.uint8)])[0].nbytes <= described.embedding_nbytes


def test_a_description_imports_no_torch(tiny_folders):
    code = (
        "import sys; from maskwright.settings import Settings; from maskwright.models.registry import ModelRegistry\n"
        "registry = ModelRegistry(Settings(device='cpu', offline=True, _env_file=None))\n"
        f"registry.describe('sam:{tiny_folders['sam']}'); registry.describe('sam2:facebook/sam2.1-hiera-tiny')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy imports'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_weights_elsewhere_have_the_same_hash_and_other_weights_another(registry, tiny_folders, tmp_path):
    copy = tmp_path / "elsewhere" / tiny_folders["sam"].name
    shutil.copytree(tiny_folders["sam"], copy)
    before = registry.describe(f"sam:{tiny_folders['sam']}")
    assert registry.describe(f"sam:{copy}") == before
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert registry.describe(f"sam:{copy}").version != before.version
    assert registry.describe(f"sam:{copy}").embedding_version != before.embedding_version


def test_a_code_change_of_the_decoder_keeps_cached_embeddings(settings, tiny_folders):
    uri = f"sam:{tiny_folders['sam']}"
    newer = {**FAMILIES, "sam": replace(FAMILIES["sam"], decode_revision=99)}
    before, after = ModelRegistry(settings).describe(uri), ModelRegistry(settings, families=newer).describe(uri)
    assert before.version != after.version
    assert before.embedding_version == after.embedding_version


def test_a_hub_model_is_taken_from_the_local_cache_without_a_connection(
    registry, tiny_folders, empty_cache, no_network
):
    fill_cache(empty_cache, "someone/tiny", tiny_folders["sam"])
    described = registry.describe("sam:someone/tiny")
    segmenter = registry.segmenter("sam:someone/tiny")
    assert segmenter.name == "tiny"
    assert segmenter.version == described.version
    assert registry.describe("sam:someone/tiny@main") == described
    with pytest.raises(ModelUnavailable, match="revision 'other'"):
        registry.segmenter("sam:someone/tiny@other")


def test_another_commit_is_another_version(registry, tiny_folders, empty_cache):
    fill_cache(empty_cache, "someone/tiny", tiny_folders["sam"])
    first = registry.describe("sam:someone/tiny")
    fill_cache(empty_cache, "someone/tiny", tiny_folders["sam"], commit="b" * 40)
    assert registry.describe("sam:someone/tiny").version != first.version
    assert registry.describe(f"sam:someone/tiny@{'a' * 40}").version == first.version


def test_a_download_cut_short_does_not_count_as_cached(registry, tiny_folders, empty_cache, no_network):
    root = fill_cache(empty_cache, "someone/tiny", tiny_folders["sam"])
    (root / "snapshots" / ("a" * 40) / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="are not on this machine"):
        registry.segmenter("sam:someone/tiny")


def test_offline_the_message_says_exactly_what_to_fetch(registry, empty_cache, no_network):
    with pytest.raises(ModelUnavailable) as caught:
        registry.segmenter("sam:facebook/sam-vit-base@v1")
    assert str(caught.value) == (
        "model sam:facebook/sam-vit-base@v1: weights of facebook/sam-vit-base at revision 'v1' are not on this "
        "machine, and the model hub is switched off here; run 'maskwright models pull sam:facebook/sam-vit-base@v1' "
        "where the hub can be reached, or give a folder that holds the model: sam:/path/to/folder"
    )
    assert registry.describe("sam:facebook/sam-vit-base@v1").version.startswith("sam-vit-base-")


def test_offline_a_restricted_model_s_message_speaks_of_access(registry, empty_cache, no_network):
    with pytest.raises(ModelUnavailable, match=r"maskwright models pull sam3:facebook/sam3'.*accept its terms"):
        registry.segmenter("sam3:facebook/sam3")


def hub_error(name):
    import httpx
    from huggingface_hub import errors

    response = httpx.Response(403, request=httpx.Request("GET", "http://hub.invalid/"))
    kind = getattr(errors, name)
    return kind("no", response=response) if issubclass(kind, errors.HfHubHTTPError) else kind("no")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "access to facebook/sam3 is restricted; accept its terms on the hub"),
        ("RepositoryNotFoundError", "the hub knows no model 'facebook/sam3'"),
        ("RevisionNotFoundError", "has no revision 'main'"),
        ("LocalEntryNotFoundError", "cannot be reached; run 'maskwright models pull sam3:facebook/sam3'"),
        ("HfHubHTTPError", "cannot be reached; run 'maskwright models pull sam3:facebook/sam3'"),
    ],
)
def test_online_each_refusal_of_the_hub_has_its_own_message(error, message, settings, empty_cache, monkeypatch):
    import huggingface_hub

    def refuse(*arguments, **keywords):
        raise hub_error(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    online = ModelRegistry(settings.model_copy(update={"offline": False}))
    with pytest.raises(ModelUnavailable, match=message):
        online.segmenter("sam3:facebook/sam3")


def test_online_a_missing_model_is_fetched_without_pickles_and_then_loaded(
    settings, empty_cache, tiny_folders, monkeypatch
):
    import huggingface_hub

    asked = []

    def download(hub_id, *, revision, allow_patterns):
        asked.append((hub_id, revision, tuple(allow_patterns)))
        fill_cache(empty_cache, hub_id, tiny_folders["sam"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    online = ModelRegistry(settings.model_copy(update={"offline": False}))
    before = online.describe("sam:someone/tiny")
    assert asked == []
    segmenter = online.segmenter("sam:someone/tiny")
    fetched = ("*.safetensors", "*.json", "*merges.txt", "*vocab.txt", "*.model", "*.jinja")
    assert asked == [("someone/tiny", "main", fetched)]
    assert online.describe("sam:someone/tiny").version == segmenter.version != before.version


@pytest.mark.parametrize("ask", ["segmenter", "describe"])
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sam:/nowhere/model", "no such folder"),
        ("sam:justaname", "a hub id has the form owner/name"),
        ("segment-anything:/nowhere/x.pth", "no such checkpoint file"),
        ("embedded+adapter:cells", "an adapter's id has 32 hex digits"),
        (f"embedded+adapter:{'0' * 32}", "is not among this server's adapters"),
        ("classical+adapter:cells", "has no weights that an adapter could change"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(ask, uri, message, registry):
    with pytest.raises(ModelUnavailable, match=message):
        getattr(registry, ask)(uri)


def test_a_malformed_uri_is_the_caller_s_mistake(registry):
    with pytest.raises(InvalidInput, match="known forms"):
        registry.segmenter("yolo:v8")


def test_a_folder_with_pickled_weights_only_is_refused(registry, tiny_folders, tmp_path):
    (tmp_path / "config.json").write_text((tiny_folders["sam"] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelUnavailable, match=r"only pickled weights.*model\.safetensors"):
        registry.segmenter(f"sam:{tmp_path}")


def test_a_folder_of_another_family_is_refused_by_name(registry, tiny_folders):
    with pytest.raises(ModelUnavailable, match=r"model_type 'sam2', but 'sam:' loads sam$"):
        registry.segmenter(f"sam:{tiny_folders['sam2']}")


@pytest.mark.parametrize("value", ["large", None, 0, [1, 2]])
def test_a_malformed_configuration_is_named(value, registry, tiny_folders, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(tiny_folders["sam"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["patch_size"] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"config\.json are malformed"):
        registry.describe(f"sam:{folder}")


def test_missing_tensors_are_never_replaced_by_random_ones(registry, tiny_folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "cut"
    shutil.copytree(tiny_folders["sam"], folder)
    state = load_file(folder / "model.safetensors")
    del state["mask_decoder.iou_token.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"incomplete for SamModel.*mask_decoder\.iou_token\.weight"):
        registry.segmenter(f"sam:{folder}")


def test_a_damaged_weights_file_is_refused_without_the_server_s_paths(registry, tiny_folders, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_folders["sam"], folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ModelUnavailable, match="check that the files are complete"):
        registry.segmenter(f"sam:{folder}")


def test_a_published_layout_of_the_whole_sam_3_loads_its_tracker(registry, tiny_folders, tmp_path, picture):
    """The public checkpoint holds detector and tracker together, under prefixes, in a config of its own type."""
    from safetensors.torch import load_file, save_file

    config = json.loads((tiny_folders["sam3"] / "config.json").read_text())
    tracker = {**config, "model_type": "sam3_tracker_video"}
    whole = {"model_type": "sam3_video", "tracker_config": tracker, "architectures": ["Sam3VideoModel"]}
    state = {}
    for key, tensor in load_file(tiny_folders["sam3"] / "model.safetensors").items():
        name = key.removeprefix("tracker_model.")
        name = name.removeprefix("detector_model.").replace("tracker_neck.", "vision_encoder.neck.")
        if name.startswith("vision_encoder.neck."):
            name = name.replace("vision_encoder.neck.", "tracker_neck.")
        else:
            name = f"{'detector_model' if name.startswith('vision_encoder.') else 'tracker_model'}.{name}"
        state[name] = tensor
    state["detector_model.text_encoder.extra"] = state["tracker_model.no_memory_embedding"].clone()
    state["tracker_model.memory_encoder.extra"] = state["tracker_model.no_memory_embedding"].clone()
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(whole))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    alone = registry.segmenter(f"sam3:{tiny_folders['sam3']}")
    inside = registry.segmenter(f"sam3:{folder}")
    assert inside.embedding_nbytes == alone.embedding_nbytes
    image, prompt = picture(40, 40), Prompt.from_points([(10, 10, 1)])
    answers = [model.decode(model.encode([image])[0], [prompt]).low_res_logits for model in (alone, inside)]
    np.testing.assert_allclose(*answers, atol=1e-6)
