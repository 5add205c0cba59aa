"""`clip2yolo teachers --spaces`: what sees images without words and has a name."""

from __future__ import annotations

from pipeline.cli.group import echo, print_json


def print_spaces(as_json: bool) -> None:
    """Print the presets of `label.space`, as a table or as JSON."""
    from dataclasses import asdict

    from pipeline.spaces.presets import PRESETS
    from pipeline.teachers.presets import holds_weights
    from pipeline.terminal import print_table

    here = {one.name: holds_weights(one.weights) for one in PRESETS.values()}
    if as_json:
        print_json([asdict(one) | {"here": here[one.name]} for one in PRESETS.values()])
        return
    print_table(
        "Spaces",
        ["space", "parameters", "input", "k-NN", "licence", "here"],
        [
            [
                one.name,
                f"{one.parameters:g} M",
                f"{one.input_size} px",
                "–" if one.knn is None else f"{one.knn:.1f} %",
                one.licence,
                "yes" if here[one.name] else "no",
            ]
            for one in PRESETS.values()
        ],
        left=("licence", "here"),
    )
    for one in PRESETS.values():
        echo(f"  {one.name}: {one.about} ({one.source})")
    echo(
        "k-NN is the published top-1 of nearest neighbours on ImageNet, not measured here. "
        "`space: student` takes the features of `student.model`, and a teacher's name its sight; "
        "whatever else timm or transformers lists works by `kind:` and `model:`."
    )
