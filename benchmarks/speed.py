"""How fast images are labeled, beside what people would use instead and what the machine allows.

Every tool runs in a process of its own, by turns, on the same photos and with weights of the same
shape. Slow tools are shown fewer photos: what they need for one does not depend on how many come.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import peer_clip_retrieval
from benchmarks.photos import photos, random_transformers, random_vit
from benchmarks.speed_commands import Spent, first_answers, label_from_nothing
from pipeline.errors import Clip2YoloError
from pipeline.machine import cores
from pipeline.terminal import print_table

_WORK = Path(__file__).parent / "runs" / "speed"
_RESULTS = Path(__file__).parent / "results" / "speed.json"
_CHART = Path(__file__).parent.parent / "docs" / "speed.png"
_PHOTOS = 1000
_ROUNDS = 3  # the median counts
_PYTHON = sys.executable
_PROMPTS = (10, 100)
_OURS = "clip2yolo"
# tool → photos shown, by the number of prompts.
_SHOWN = {
    _OURS: {10: 1000, 100: 1000},
    "open_clip loop": {10: 256, 100: 256},
    "transformers pipeline": {10: 40, 100: 8},
    "clip-retrieval": {10: 128, 100: 128},
    "autodistill-clip": {10: 24, 100: 4},
}


def main(
    gpu: bool = False,
    most: int = _PHOTOS,
    rounds: int = _ROUNDS,
    tools: Sequence[str] = (),
    prompts: Sequence[int] = (),
    to: Path | None = None,
) -> None:
    """Run the tools, print the table, write results/speed.json and docs/speed.png.

    Args:
        gpu: on one.
        most: photos. Where these, rounds, tools or prompts are other than usual, it is a trial,
            which is written only where `to` says.
        rounds: the medians of them count.
        tools: clip2yolo's own and these; all where none is named.
        prompts: how many of them, 10 or 100 or both, which is what none means.
        to: a file for the figures of a trial.

    Raises:
        Clip2YoloError: a GPU was asked for and there is none, a tool or a number of prompts is not
            one of those above, or the usual run was asked to be written elsewhere.
    """
    import torch

    if gpu and not torch.cuda.is_available():
        raise Clip2YoloError("There is no GPU here that torch can use. Leave out `--gpu`.")
    counts = list(dict.fromkeys(prompts or _PROMPTS))
    if unknown := [str(one) for one in (*tools, *counts) if one not in (*_SHOWN, *_PROMPTS)]:
        raise Clip2YoloError(
            f"Of {', '.join(unknown)} nothing is measured. There are {', '.join(_SHOWN)}, and "
            f"{' or '.join(map(str, _PROMPTS))} prompts."
        )
    trial = bool((most, rounds) != (_PHOTOS, _ROUNDS) or tools or prompts)
    if to and not trial:
        raise Clip2YoloError("`--to` is for trials. Leave it out, or measure less than usual.")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    # As on most machines: what is imported was compiled by a run before.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    model = random_vit(_WORK / "model")
    folder = photos(_WORK / (f"photos_{most}" if trial else "photos"), most)[0].parent
    pictures = str(folder)
    # It has an environment of its own, which takes minutes to make.
    python = None if trial else peer_clip_retrieval.python_with(_WORK / "clip-retrieval")
    chosen = {_OURS, *(tools or _SHOWN)} - (set() if python else {"clip-retrieval"})
    shown = {tool: of for tool, of in _SHOWN.items() if tool in chosen}
    if python is None and not trial:
        print("clip-retrieval cannot be installed here, so it is left out.", file=sys.stderr)
    limits: list[dict[str, float]] = []
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    whole: dict[int, list[Spent]] = {count: [] for count in counts}
    for _ in range(rounds):
        limits.append(_run([_PYTHON, "-m", "benchmarks.limits", pictures, str(model)], environment))
        for asked in counts:
            for tool, of in shown.items():
                count = str(min(most, of[asked] * (8 if gpu else 1)))
                if tool != "clip-retrieval":
                    words = [_PYTHON, "-m", "benchmarks.speed_tools", tool, pictures, count]
                    found = _run([*words, str(asked), str(_WORK)], environment)
                elif asked == _PROMPTS[0]:
                    words = [str(python), peer_clip_retrieval.__file__, pictures, count]
                    weights = random_transformers(_WORK / "transformers")
                    found = _run([*words, str(weights)], environment)
                else:  # it knows no prompts
                    found = runs[tool, _PROMPTS[0]][-1]
                runs.setdefault((tool, asked), []).append(found)
            whole[asked].append(label_from_nothing(folder, asked, model, environment))
    results = _results(runs, limits, whole, most) | {"machine": machine(gpu)}
    results["start"] = first_answers(min(folder.iterdir()), model, environment, rounds)
    if not gpu and not trial:
        from benchmarks.scale import measure

        with tempfile.TemporaryDirectory(prefix="clip2yolo-warm-") as folder:
            results["warm"] = {
                "images": 100_000,
                "seconds": measure(Path(folder), 100_000)["relabel"],
            }
    _print(results, most)
    if trial:
        if to:
            to.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        print(f"A trial: {f'its figures are in {to}' if to else 'nothing was written'}.")
        return
    place = _RESULTS.with_name("speed_gpu.json") if gpu else _RESULTS
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    if not gpu:
        _draw(results)


def _run(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if told.returncode:
        raise Clip2YoloError(f"{' '.join(words[1:4])} failed: {told.stderr[-400:]}")
    return json.loads(told.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _results(
    runs: Mapping[tuple[str, int], Sequence[Mapping[str, float]]],
    limits: Sequence[Mapping[str, float]],
    whole: Mapping[int, Sequence[Spent]],
    most: int,
) -> dict[str, Any]:
    rates = {
        key: statistics.median(r["images"] / r["seconds"] for r in of) for key, of in runs.items()
    }
    rows = []
    for (tool, prompts), of in runs.items():
        start = statistics.median(run["start"] for run in of)
        # clip2yolo's was run whole; the others' follows from their start and their rate.
        alone = start + most / rates[tool, prompts]
        ours = statistics.median(one.seconds for one in whole[prompts])
        rows.append(
            {
                "tool": tool,
                "prompts": prompts,
                "images_per_second": round(rates[tool, prompts], 3),
                "times_slower_than_clip2yolo": round(
                    rates[_OURS, prompts] / rates[tool, prompts], 2
                ),
                "peak_mb": round(max(run["peak_mb"] for run in of)),
                "photos": int(of[0]["images"]),
                "whole_command_seconds": round(ours if tool == _OURS else alone, 1),
                "whole_command_times_slower": round(alone / ours, 2) if tool != _OURS else 1,
            }
        )
    middle = {name: statistics.median(of[name] for of in limits) for name in limits[0]}
    # Round by round, since the machine's speed drifts.
    reached = {
        name: round(
            statistics.median(
                run["images"] / run["seconds"] / of[name]
                for run, of in zip(runs[_OURS, min(whole)], limits, strict=True)
            ),
            3,
        )
        for name in ("bare_encoder", "decode", "matrix_product")
    }
    return {
        "rows": rows,
        "limits": {name: round(value, 1) for name, value in middle.items()},
        "reached": reached,
        "warm": None,
        "whole_command_cpu_seconds": {
            prompts: round(statistics.median(one.cpu for one in of), 1)
            for prompts, of in whole.items()
        },
    }


def machine(gpu: bool) -> dict[str, Any]:
    """Return what figures depend on: cores, processor, versions."""
    import torch

    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return {
        "cores": cores(),
        "processor": platform.machine(),
        "bf16": [name for name in ("avx512_bf16", "amx_bf16") if name in flags],
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "torch": torch.__version__,
    }


def _print(results: Mapping[str, Any], most: int) -> None:
    rows = [
        [
            row["tool"],
            str(row["prompts"]),
            f"{row['images_per_second']:,.2f}",
            f"{row['times_slower_than_clip2yolo']:,.1f}",
            f"{row['whole_command_seconds']:,.0f} s",
            f"{row['whole_command_times_slower']:,.1f}",
            f"{row['peak_mb']:,} MB",
        ]
        for row in results["rows"]
    ]
    head = ["tool", "prompts", "images/s", "times slower", f"{most:,} photos whole"]
    print_table("ViT-B/32, photos of 500 x 375", [*head, "times slower", "peak memory"], rows)
    limits = [
        [name, f"{results['limits'][name]:,.0f}", f"{results['reached'][name]:.2f}"]
        for name in ("bare_encoder", "decode", "matrix_product")
    ]
    print_table("Limits, in the same run", ["limit", "images/s", "reached"], limits)
    starts = [
        [
            row["command"],
            row["prompts"],
            f"{row['seconds']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['times_import_torch']:.2f}",
            f"{row['times_import_torch_cpu']:.2f}",
        ]
        for row in results["start"]
    ]
    head = ["command", "prompts", "seconds", "CPU seconds", "times import torch", "in CPU seconds"]
    print_table("One picture, a new process", head, starts, left=("prompts",))
    if results["warm"]:
        warm = results["warm"]
        print(f"Other prompts: {warm['images']:,} cached images in {warm['seconds']:.2f} s.")


def _draw(results: Mapping[str, Any]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.4), dpi=120)
    tools = list(dict.fromkeys(row["tool"] for row in results["rows"]))[::-1]
    for offset, (prompts, color) in enumerate(((10, "#2a6fbb"), (100, "#e0812a"))):
        rates = [
            next(
                row["images_per_second"]
                for row in results["rows"]
                if (row["tool"], row["prompts"]) == (tool, prompts)
            )
            for tool in tools
        ]
        places = [number + 0.2 - 0.4 * offset for number in range(len(tools))]
        bars = axes.barh(places, rates, height=0.38, color=color, label=f"{prompts} prompts")
        labels = axes.bar_label(bars, [f"{rate:,.3g}" for rate in rates], padding=3, fontsize=8)
        for text in labels:
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    limit = results["limits"]["bare_encoder"]
    axes.axvline(limit, color="#bbbbbb", linestyle="--", linewidth=1, zorder=0)
    axes.text(
        limit * 1.08, 0.9, "the bare\nencoder\non ready\ntensors", fontsize=8, color="#555555"
    )
    axes.set_yticks(range(len(tools)), tools)
    axes.set_xscale("log")
    axes.set_xlim(right=limit * 4)
    axes.set_xlabel(f"images a second, ViT-B/32, {results['machine']['cores']} cores (log scale)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(0.85, 0))
    figure.tight_layout()
    figure.savefig(_CHART)
