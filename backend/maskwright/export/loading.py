"""The few lines that open a dataset, for its card."""

from __future__ import annotations

_SNIPPETS = {
    "coco": """\
from pycocotools.coco import COCO
coco = COCO("{index}")
masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds(imgIds=coco.getImgIds()[0]))]""",
    "panoptic": """\
import json, numpy as np; from PIL import Image; from panopticapi.utils import rgb2id
panoptic = json.load(open("{index}"))
segment_ids = rgb2id(np.array(Image.open("{folder}" + panoptic["annotations"][0]["file_name"])))""",
    "stuff": """\
from pycocotools.coco import COCO
coco = COCO("{index}")
masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds(imgIds=coco.getImgIds()[0]))]""",
    "yolo": """\
from ultralytics import YOLO
model = YOLO("yolo11n-seg.pt")
model.train(data="{index}")""",
    "voc": """\
import numpy as np; from pathlib import Path; from PIL import Image
path = sorted(Path("SegmentationClass").rglob("*.png"))[0]
classes = np.array(Image.open(path))  # 0 is background, 255 is void""",
    "png": """\
import numpy as np; from pathlib import Path; from PIL import Image
path = sorted(Path(".").rglob("*.png"))[0]
pixels = np.array(Image.open(path))  # what the numbers mean is in {index}""",
    "parquet": """\
from datasets import load_dataset
dataset = load_dataset("parquet", data_files="**/*.parquet")
print(next(iter(dataset.values())).features)""",
    "label-studio": """\
import json
tasks = json.load(open("{index}"))  # or import the file into a project of Label Studio
print(tasks[0]["predictions"][0]["result"][0])""",
    "text": """\
import json
rows = [json.loads(line) for line in open("{index}", encoding="utf-8")]
print(rows[0])""",
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
    folder = index.removesuffix(".json") + "/"
    return [f"```python\n{snippet.replace('{index}', index).replace('{folder}', folder)}\n```"]
