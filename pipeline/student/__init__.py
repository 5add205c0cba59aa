"""The student: a YOLO classifier, trained and asked. The only room that imports ultralytics."""

from pipeline.student.epochs import EpochReport
from pipeline.student.predict import Student
from pipeline.student.train import FILES, TrainResult, train

__all__ = ["FILES", "EpochReport", "Student", "TrainResult", "train"]
