"""What keeps a student to its early answers, and how sure it says it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline.student import Student, train
from pipeline.student.confidence import fit_temperature
from pipeline.student.early_learning import EarlyLearning, Memory
from tests.fakes import picture
from tests.test_soft_labels import ORDER, beliefs_of
from tests.tiny_student import CLASSES, make_dataset
from tests.tiny_student import config as quick

CPU = torch.device("cpu")


def cross_entropy(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[object, object]:
    loss = F.cross_entropy(logits, batch["cls"])
    return loss, {"loss": loss.detach()}


def test_what_was_answered_is_averaged_over_the_epochs() -> None:
    memory = Memory(3, 2, CPU)
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    row = torch.tensor([1])
    assert torch.allclose(memory.keep(row, first), 0.3 * first)
    assert torch.allclose(memory.keep(row, second), 0.21 * first + 0.3 * second)
    assert memory.answers[[0, 2]].sum() == 0
    # Twice in a batch: the mean of the two counts as one answer.
    both = memory.keep(torch.tensor([2, 2]), torch.cat([first, second]))
    assert torch.allclose(both, torch.full((2, 2), 0.15))


def test_leaving_what_was_answered_costs_and_figures_stay_cross_entropy() -> None:
    memory = Memory(2, 2, CPU)
    for _ in range(30):
        memory.keep(torch.tensor([0, 1]), torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    free = EarlyLearning(cross_entropy, memory, torch.tensor([False, True]))
    batch = {"cls": torch.tensor([[0.0, 1.0]]), "row": torch.tensor([0])}
    unsure = torch.zeros(1, 2, requires_grad=True)
    loss, named = free(unsure, batch)
    assert float(named["loss"]) == pytest.approx(float(np.log(2)))
    loss.backward()
    # Its label says the second class, what it has answered so far pulls to the first.
    alone = torch.zeros(1, 2, requires_grad=True)
    F.cross_entropy(alone, batch["cls"]).backward()
    assert unsure.grad is not None and alone.grad is not None
    assert unsure.grad[0, 0] < alone.grad[0, 0]
    # What a person decided is learned as it is.
    certain, _ = free(torch.zeros(1, 2), batch | {"row": torch.tensor([1])})
    assert float(certain) == pytest.approx(float(np.log(2)))
    # An image that counts for nothing adds nothing.
    nothing = {"cls": torch.zeros(1, 2), "row": torch.tensor([0])}
    assert float(free(torch.zeros(1, 2), nothing)[0]) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0.4, 0.99), st.floats(0.1, 30))
def test_a_temperature_makes_no_answer_another_and_no_student_surer(
    seed: int, sure: float, scale: float
) -> None:
    logits = np.random.default_rng(seed).normal(0, scale, (50, 3))
    temperature = fit_temperature(logits, sure)
    assert 1 <= temperature <= 20

    def confidence(by: float) -> float:
        shares = np.exp(logits / by - (logits / by).max(axis=1, keepdims=True))
        return float((shares.max(axis=1) / shares.sum(axis=1)).mean())

    if 1 < temperature < 20:
        assert confidence(temperature) == pytest.approx(sure, abs=1e-3)
    elif temperature == 1:
        assert confidence(1) <= sure + 1e-9
    else:
        assert confidence(20) >= sure


@pytest.fixture(scope="module")
def misled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A dataset of which a third of the reds is believed to be green."""
    folder = tmp_path_factory.mktemp("misled")
    dataset = make_dataset(folder / "dataset", 24)
    beliefs = beliefs_of(dataset, folder / "undecided", 0.9)
    wrong = beliefs.filter(pl.col("class") == "red")["id"].gather_every(3).to_list()
    shares = [0.9 if name == "green" else 0.05 for name in ORDER]
    lists = [
        shares if one in wrong else old for one, old in beliefs["id", "probabilities"].iter_rows()
    ]
    told = pl.Series(lists, dtype=pl.List(pl.Float32))
    return dataset, beliefs.with_columns(probabilities=told)


def test_wrong_labels_are_not_learned_by_heart() -> None:
    # More features than images: whatever the labels say can be learned, as by a network.
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 2, (200,), generator=draw)
    images = torch.randn(200, 400, generator=draw)
    images[:, 0] += 6.0 * (truth * 2 - 1)
    wrong = torch.rand(200, generator=draw) < 0.3
    labels = F.one_hot(torch.where(wrong, 1 - truth, truth), 2).float()
    batch = {"cls": labels, "row": torch.arange(200)}
    nobody = torch.zeros(200, dtype=torch.bool)

    def right_on_wrong(criterion: Callable[..., tuple[Any, Any]]) -> float:
        weights = torch.zeros(400, 2, requires_grad=True)
        optimizer = torch.optim.SGD([weights], lr=0.1)
        for _ in range(400):
            optimizer.zero_grad()
            criterion(images @ weights, batch)[0].backward()
            optimizer.step()
        return float(((images @ weights).argmax(dim=1) == truth)[wrong].float().mean())

    assert right_on_wrong(cross_entropy) < 0.5
    assert right_on_wrong(EarlyLearning(cross_entropy, Memory(200, 2, CPU), nobody)) > 0.9


def test_a_student_is_on_the_whole_as_sure_as_its_labels(
    misled: tuple[Path, pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, beliefs = misled
    monkeypatch.chdir(tmp_path)
    settings = quick(distill="soft", epochs=12, train={"lr0": 0.003, "erasing": 0.0})
    train(dataset, Path("s"), settings, CLASSES, beliefs=beliefs)
    card = json.loads((tmp_path / "s" / "student.json").read_text())
    assert card["temperature"] > 1
    student = Student.load(tmp_path / "s", "cpu")
    shown = [picture(name, number) for name in CLASSES for number in range(5000, 5020)]
    answers = student.predict([student.prepare(one) for one in shown])
    taught = beliefs.filter(pl.col("kind") != "outside")["probabilities"].list.max().mean()
    assert answers.max(axis=1).mean() == pytest.approx(taught, abs=0.1)
