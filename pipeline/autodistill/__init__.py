"""clip2yolo behind autodistill's interfaces, for notebooks that were written for autodistill.

from pipeline.autodistill import CLIP, YOLOv8     # instead of autodistill_clip, autodistill_yolov8

base = CLIP(ontology=CaptionOntology({"a photo of a dog": "dog", "a photo of a cat": "cat"}))
base.label("./photos", extension=".jpeg", output_folder="./dataset")
target = YOLOv8("yolov8n-cls.pt")
target.train("./dataset", epochs=30)
target.predict("./photo.jpeg")
"""

from pipeline.autodistill.base import CLIP
from pipeline.autodistill.target import YOLOv8

__all__ = ["CLIP", "YOLOv8"]
