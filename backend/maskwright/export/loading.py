"""The few lines that open a dataset, for its card."""

from __future__ import annotations

_SNIPPETS = {
    "coco": """\
from pycocotools.coco import COCO
coco = COCO("{index}")
masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds(imgIds=coco.getImgIds()[0]))]""",
    "panoptic": """\
import json, numpy as np; from PIL import Image; from panopticapi.utils import rgb2id
panoptic = json.load(open("panoptic.json"))
segment_ids = rgb2id(np.array(Image.open("panoptic/" + panoptic["annotations"][0]["file_name"])))""",
    "stuff": """\
from pycocotools.coco import COCO
coco = COCO("{index}")
masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds(imgIds=coco.getImgIds()[0]))]""",
    "yolo": """\
from ultralytics import YOLO
model = YOLO("yolo11n-seg.pt")
model.train(data="{index}")""",
    "voc": """\
from torchvision.datasets import VOCSegmentation
dataset = VOCSegmentation(".", year="2012", image_set="train")
image, classes = dataset[0]  # 0 is background, 255 is void""",
    "png": """\
import json, numpy as np; from pathlib import Path; from PIL import Image
index = json.load(open("index.json"))  # what the numbers mean
pixels = np.array(Image.open(next(Path("masks").rglob("*.png"))))""",
    "parquet": """\
from datasets import load_dataset
dataset = load_dataset("parquet", data_files={"train": "data/train-*.parquet"})  # likewise validation and test
print(dataset["train"].features)""",
    "label-studio": """\
import json
tasks = json.load(open("tasks.json"))  # or import the file into a project of Label Studio
print(tasks[0]["predictions"][0]["result"][0])""",
    "text": """\
import json; from pathlib import Path
path = next(Path(".").glob("*.jsonl"))  # one conversation to a line; descriptors.json says how to read the answers
conversations = [json.loads(line) for line in path.open(encoding="utf-8")]""",
}


def how_to_load(format_name: str, index: str) -> list[str]:
    """Blocks of Markdown; none for a format that is not known.

    Args:
        format_name: As ``--format`` names it.
        index: Relative path of the file that a loader opens.
    """
    snippet = _SNIPPETS.get(format_name)
    if snippet is None:
        return []
    return [f"```python\n{snippet.replace('{index}', index)}\n```"]
