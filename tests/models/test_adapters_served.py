"""``<base>+adapter:<id>``: served from one base, under a version of its own, without re-encoding what need not be."""

import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskwright.assist.encoding import EmbeddingService
from maskwright.errors import ModelUnavailable
from maskwright.images import Image
from maskwright.models.adapters.attaching import attach, trained_parameters, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.protocols import Proposer, Segmenter
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt
from maskwright.store.embeddings import EmbeddingStore

CLICK = Prompt.from_points([(20.0, 15.0, 1)])
KINDS = {
    "lora": AdapterConfig("lora", rank=2),
    "conv-lora": AdapterConfig("conv-lora", rank=2, scales=(1, 2)),
    "decoder": AdapterConfig("decoder"),
    "both": AdapterConfig("both", rank=2),
}
SCHEMES = ("sam", "sam-hq", "sam2", "sam3", "segment-anything", "segment-anything-package", "embedded")


@pytest.fixture
def uris(tiny_folders, original_sam):
    made = {scheme: f"{scheme}:{folder}" for scheme, folder in tiny_folders.items()}
    made |= {scheme: f"{scheme}:{original_sam[1]}" for scheme in ("segment-anything", "segment-anything-package")}
    return made | {"embedded": "embedded"}


def train(registry, uri, config, seed=0, size=0.1):
    """An adapter moved at random, written where the registry looks; returns its id and the learner."""
    base = registry.segmenter(uri)
    learner = attach(base.network, config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained_parameters(learner).values():
            parameter += torch.randn(parameter.shape, generator=generator) * size
    card = AdapterCard(registry.base_identity(uri), config, base.version)
    return write_adapter(registry.adapters.folder, trained_tensors(learner), card), learner


def answer(segmenter, image):
    return segmenter.decode(segmenter.encode([image])[0], [CLICK], multimask_output=True).low_res_logits


@pytest.mark.parametrize(
    ("scheme", "kind"), [(s, k) for s in SCHEMES for k in KINDS if s != "embedded" or k in ("lora", "decoder")]
)
def test_every_family_serves_an_adapter_as_it_was_learnt(scheme, kind, registry, settings, uris, picture):
    uri, image = uris[scheme], picture(40, 60)
    identifier, learner = train(registry, uri, KINDS[kind])
    adapted_uri = f"{uri}+adapter:{identifier}"
    described = ModelRegistry(settings).describe(adapted_uri)
    base, adapted = registry.segmenter(uri), registry.segmenter(adapted_uri)
    assert registry.load_count == 1
    assert isinstance(adapted, Segmenter)
    assert isinstance(adapted, Proposer) == isinstance(base, Proposer)
    reported = (adapted.name, adapted.version, adapted.embedding_version, adapted.embedding_nbytes)
    assert reported == (described.name, described.version, described.embedding_version, described.embedding_nbytes)
    assert adapted.version != base.version
    assert (adapted.embedding_version == base.embedding_version) == (kind == "decoder" or scheme == "embedded")

    before = answer(base, image)
    learnt = base.with_network(learner, registry.describe(uri))
    np.testing.assert_allclose(answer(adapted, image), answer(learnt, image), atol=2e-5, rtol=1e-4)
    assert np.abs(answer(adapted, image) - before).max() > 1e-3
    np.testing.assert_array_equal(answer(base, image), before)


@pytest.mark.parametrize("scheme", ["sam", "sam2", "embedded"])
def test_promoting_a_decoder_re_encodes_nothing(scheme, registry, uris, picture, tmp_path):
    uri = uris[scheme]
    identifier, _ = train(registry, uri, KINDS["decoder"])
    base, adapted = registry.segmenter(uri), registry.segmenter(f"{uri}+adapter:{identifier}")
    encoder_runs = []
    times = {"memory_bytes": 64 << 20, "observe": lambda stage, _: encoder_runs.append(stage)}
    image = Image(picture(40, 60), "a" * 64, "a" * 64)
    service = EmbeddingService(store=EmbeddingStore(tmp_path / "cache", 1 << 30), **times)
    made = service.get(base, image)
    assert len(encoder_runs) == 1
    assert service.contains(adapted, image)
    assert service.get(adapted, image) is made
    assert np.abs(adapted.decode(made, [CLICK]).low_res_logits - base.decode(made, [CLICK]).low_res_logits).max() > 0
    service.close()
    later = EmbeddingService(store=EmbeddingStore(tmp_path / "cache", 1 << 30), **times)
    later.get(adapted, image)
    later.close()
    assert len(encoder_runs) == 1


def test_an_adapter_of_the_encoder_does_not_take_the_base_s_embeddings(registry, uris, picture):
    identifier, _ = train(registry, uris["sam"], KINDS["lora"])
    base, adapted = (registry.segmenter(uri) for uri in (uris["sam"], f"{uris['sam']}+adapter:{identifier}"))
    with pytest.raises(Exception, match="encode it again"):
        adapted.decode(base.encode([picture(20, 20)])[0], [CLICK])


def test_one_base_is_loaded_for_any_number_of_adapters_and_threads(registry, settings, uris):
    uri = uris["sam"]
    ids = [train(registry, uri, KINDS["decoder"], seed)[0] for seed in range(3)]
    fresh, barrier = ModelRegistry(settings), threading.Barrier(12)

    def ask(index):
        barrier.wait()
        return fresh.segmenter(f"{uri}+adapter:{ids[index % 3]}")

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, range(12)))
    assert len(set(map(id, found))) == 3
    assert fresh.load_count == 1
    assert fresh.loaded()[0].version == fresh.segmenter(uri).version
    assert {d.version for d in fresh.loaded()} >= {s.version for s in found}


def test_the_least_recently_used_copies_are_let_go_and_come_back(registry, settings, uris, picture):
    uri = uris["sam"]
    ids = [train(registry, uri, KINDS["decoder"], seed)[0] for seed in range(4)]
    small = ModelRegistry(settings, most_adapted=2)
    uris_of = [f"{uri}+adapter:{identifier}" for identifier in ids]
    in_use = small.segmenter(uris_of[0])
    network = weakref.ref(small.segmenter(uris_of[1]).network)
    for other in (2, 3):
        assert small.segmenter(uris_of[0]) is in_use
        small.segmenter(uris_of[other])
        assert len(small.loaded()) == 1 + 2
    gc.collect()
    assert network() is None
    small.segmenter(uris_of[1])
    small.segmenter(uris_of[2])
    before = answer(in_use, picture(30, 30))
    again = small.segmenter(uris_of[0])
    assert again is not in_use
    np.testing.assert_array_equal(answer(again, picture(30, 30)), before)
    assert small.load_count == 1


def test_what_is_in_memory_is_served_although_its_file_went(registry, uris):
    identifier, _ = train(registry, uris["sam"], KINDS["decoder"])
    uri = f"{uris['sam']}+adapter:{identifier}"
    loaded = registry.segmenter(uri)
    (registry.adapters.folder / f"{identifier}.safetensors").unlink()
    assert registry.segmenter(uri) is loaded
    assert registry.describe(uri).version == loaded.version


@pytest.mark.parametrize("ask", ["segmenter", "describe"])
def test_an_adapter_of_another_base_is_refused(ask, registry, uris, tiny_folders, randomise, tmp_path):
    import transformers

    other = tmp_path / "other"
    model = transformers.SamModel.from_pretrained(tiny_folders["sam"])
    randomise(model, seed=5).save_pretrained(other)
    identifier, _ = train(registry, f"sam:{other}", KINDS["decoder"])
    assert registry.segmenter(f"sam:{other}+adapter:{identifier}")
    for uri in (uris["sam"], uris["sam2"], "embedded"):
        with pytest.raises(ModelUnavailable, match=f"adapter {identifier} was trained on another base model"):
            getattr(registry, ask)(f"{uri}+adapter:{identifier}")


def test_an_adapter_whose_shapes_do_not_fit_is_refused_although_it_names_the_base(registry, uris):
    base = registry.segmenter(uris["sam"])
    config = AdapterConfig("lora", rank=2)
    tensors = trained_tensors(attach(base.network, config))
    lying = AdapterCard(registry.base_identity(uris["sam"]), replace(config, rank=3), base.version)
    identifier = write_adapter(registry.adapters.folder, tensors, lying)
    with pytest.raises(ModelUnavailable, match=rf"adapter {identifier} does not fit.*has shape \(2, 32\)"):
        registry.segmenter(f"{uris['sam']}+adapter:{identifier}")


@pytest.mark.parametrize("ask", ["segmenter", "describe"])
def test_a_damaged_file_is_refused_and_the_base_goes_on(ask, registry, uris, picture):
    identifier, _ = train(registry, uris["sam"], KINDS["decoder"])
    path = registry.adapters.folder / f"{identifier}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    uri = f"{uris['sam']}+adapter:{identifier}"
    with pytest.raises(ModelUnavailable, match=f"adapter {identifier} is cut short"):
        getattr(registry, ask)(uri)
    answer(registry.segmenter(uris["sam"]), picture(20, 20))
    path.write_bytes(whole)
    assert registry.segmenter(uri).version == registry.describe(uri).version


def test_the_same_adapter_elsewhere_has_the_same_version_and_another_another(registry, uris, settings, tmp_path):
    uri = uris["sam"]
    one, two = (train(registry, uri, KINDS["decoder"], seed)[0] for seed in (1, 2))
    elsewhere = ModelRegistry(settings.model_copy(update={"home": tmp_path / "elsewhere"}))
    assert train(elsewhere, uri, KINDS["decoder"], 1)[0] == one
    versions = [registry.describe(f"{uri}+adapter:{i}").version for i in (one, two)]
    assert elsewhere.describe(f"{uri}+adapter:{one}").version == versions[0] != versions[1]
    assert versions[0].startswith(f"tiny-sam+{one[:8]}-")


def test_a_description_of_an_adapted_model_imports_no_torch(registry, settings, uris):
    identifier, _ = train(registry, uris["sam"], KINDS["both"])
    code = (
        "import sys; from maskwright.settings import Settings; from maskwright.models.registry import ModelRegistry\n"
        f"registry = ModelRegistry(Settings(home={str(settings.home)!r}, device='cpu', offline=True, _env_file=None))\n"
        f"registry.describe('{uris['sam']}+adapter:{identifier}')\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'heavy imports'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_promotion_under_clicks_gives_every_click_the_old_or_the_new_answer(registry, uris, picture):
    uri = uris["sam"]
    identifier, _ = train(registry, uri, KINDS["decoder"])
    served = [uri]
    embedding = registry.segmenter(uri).encode([picture(40, 60)])[0]
    expected = registry.segmenter(uri).decode(embedding, [CLICK]).low_res_logits
    answers = {}

    def click(index):
        if index == 60:
            served[0] = f"{uri}+adapter:{identifier}"
        segmenter = registry.segmenter(served[0])
        return segmenter.version, segmenter.decode(embedding, [CLICK]).low_res_logits

    with ThreadPoolExecutor(6) as pool:
        for version, logits in pool.map(click, range(200)):
            answers.setdefault(version, []).append(logits)
    assert set(answers) == {registry.segmenter(u).version for u in (uri, f"{uri}+adapter:{identifier}")}
    new = registry.segmenter(f"{uri}+adapter:{identifier}").decode(embedding, [CLICK]).low_res_logits
    for version, found in answers.items():
        right = expected if version == registry.segmenter(uri).version else new
        assert max(np.abs(logits - right).max() for logits in found) < 1e-5
