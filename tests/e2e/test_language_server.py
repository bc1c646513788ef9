"""A real server of the OpenAI protocol with a real language model, random as its weights are, asked over HTTP."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import httpx
import orjson
import pytest

from maskwright.images import decode_image
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.language.prompt_sets import PromptSet, templates
from maskwright.models.language.schema import find_fault
from maskwright.models.stages import Stages
from maskwright.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

LABELS = LabelSet((LabelClass("cat", aliases=("cat", "tabby")), *map(LabelClass, ("dog", "sofa", "tree"))))
CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="cat"/><Label value="dog"/><Label value="sofa"/>
  <Label value="tree"/></BrushLabels></View>"""
START_LIMIT_S = 60


def launch(folder):
    """(process, address) of a server."""
    for package in ("xllamacpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            warnings.warn(f"{package} is not installed: no real language model's server is tested", stacklevel=1)
            pytest.skip(f"{package} is not installed (pip install 'maskwright[dev]')")
    program, log = Path(__file__).with_name("language_server.py"), folder / "server.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, stderr=sink, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    limit = threading.Timer(START_LIMIT_S, process.kill)  # reading ends with the process, however silent it is
    limit.start()
    address = next((line.strip() for line in process.stdout if line.startswith("http://")), None)
    limit.cancel()
    if address is None:
        process.wait()
        raise AssertionError(f"the language model's server did not come up:\n{log.read_text()}")
    return process, address


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process, address = launch(tmp_path_factory.mktemp("language-server"))
    yield address
    process.kill()
    process.wait()


def settings_of(home):
    return Settings(home=home, model="classical", cpu_threads=1, offline=True, language_timeout_s=60, _env_file=None)


@pytest.fixture
def uri(server):
    return f"openai:tiny@{server}/v1"


@pytest.fixture(scope="module")
def photograph():
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    return decode_image((folder / "chelsea.png").read_bytes())  # a cat's head and breast fill the middle


def preannotated(photograph, home, language):
    """What the stages make of a picture, embedded ones beside the language model's."""
    from maskwright.assist.preannotate import PreannotationOptions
    from maskwright.assist.suggestion.loading import load_models
    from maskwright.assist.suggestion.memo import PhraseMemo
    from maskwright.assist.suggestion.staged import Context, preannotate_in_stages
    from maskwright.assist.suggestion.values import StageOptions
    from maskwright.models.learning_classifier import tag_classifier
    from maskwright.models.registry import ModelRegistry

    settings, options = settings_of(home), StageOptions(language_seconds=60)
    models, missing = load_models(Stages(settings), settings, options, {"language": language})
    segmenter = ModelRegistry(settings).segmenter("classical")
    embedding = segmenter.encode([photograph.pixels])[0]
    context = Context(
        models, segmenter, lambda window: embedding, PhraseMemo(), "test-1", classifier=tag_classifier()[0]
    )
    made = preannotate_in_stages(photograph, LABELS, PreannotationOptions(), options, context)
    return made, missing


@pytest.mark.parametrize("name", list(templates()))
def test_random_weights_answer_every_question_in_its_schema(uri, tmp_path, name):
    question = PromptSet().question(
        name, labels=LABELS.names, tags=["tabby", "sofa"], caption="A cat.", phrase="puppy", label="cat",
        siblings=["dog"],
    )  # fmt: skip
    answer = Stages(settings_of(tmp_path)).language(uri).answer(question.messages, question.schema)
    assert find_fault(answer, question.schema) is None


def test_it_is_the_schema_that_makes_them(server):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Which?"}], "max_tokens": 64, "temperature": 0}
    schema = PromptSet().question("post-refinement", phrase="puppy", labels=["dog", "cat"]).schema
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}

    def text(**more):
        answer = httpx.post(f"{server}/v1/chat/completions", json=body | more, timeout=60)
        answer.raise_for_status()
        return answer.json()["choices"][0]["message"]["content"]

    assert json.loads(text(response_format=form))["label"] in ("dog", "cat", None)
    with pytest.raises(ValueError):
        json.loads(text())


def test_a_picture_goes_through_all_stages_to_label_studio_s_json(uri, photograph, tmp_path):
    from maskwright_label_studio.config import parse_config
    from maskwright_label_studio.results import region_to_result

    made, missing = preannotated(photograph, tmp_path, uri)
    assert (missing, made.problems) == ((), ())
    assert list((tmp_path / "language").glob("*.json")), "the language model was asked"
    assert any(region.label == "cat" for region in made.regions)
    assert {one.label for one in made.suggestions if one.is_known} <= set(LABELS.names)
    cat = next(one for one in made.suggestions if one.label == "cat")
    assert {source.kind for source in cat.sources} >= {"tag", "detector"}
    output = parse_config(CONFIG).outputs()[0]
    items = [item for region in made.regions for item in region_to_result(region, output)]
    written = json.loads(orjson.dumps(items, option=orjson.OPT_SERIALIZE_NUMPY))
    assert ["cat"] in [item["value"]["brushlabels"] for item in written]
    assert (written[0]["original_height"], written[0]["original_width"]) == photograph.size


def test_a_picture_is_drawn_all_the_same_after_the_server_died(photograph, tmp_path):
    process, address = launch(tmp_path)
    process.kill()
    process.wait()
    made, _ = preannotated(photograph, tmp_path / "home", f"openai:tiny@{address}/v1")
    assert any(region.label == "cat" for region in made.regions)
    assert any("cannot be reached" in problem for problem in made.problems)


def test_the_same_picture_asks_nothing_twice(uri, photograph, tmp_path):
    first, _ = preannotated(photograph, tmp_path, uri)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "language").iterdir()}
    second, _ = preannotated(photograph, tmp_path, uri)
    assert {path.name: path.read_bytes() for path in (tmp_path / "language").iterdir()} == kept
    assert [one.label for one in second.suggestions] == [one.label for one in first.suggestions]


def test_a_check_of_the_model_tells_what_it_is(uri, tmp_path):
    from maskwright.models.trial import try_model

    trial = try_model(settings_of(tmp_path), "language", uri)
    assert trial.version.startswith("tiny-")
    assert trial.answer.removeprefix("a puppy is: ") in ("dog", "car", "None")
    assert not (tmp_path / "language").exists(), "it asks anew every time"
