"""The student: a YOLO classifier, trained and asked."""

from pipeline.student.epochs import EpochReport
from pipeline.student.predict import Refusing, Student
from pipeline.student.train import FILES, TrainResult, train

__all__ = ["FILES", "EpochReport", "Refusing", "Student", "TrainResult", "train"]
