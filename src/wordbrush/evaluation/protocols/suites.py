"""The metrics of each protocol, with networks that the user names; metrics without a network are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation.networks.clip import load_clip
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.networks.inception import load_inception
from wordbrush.evaluation.networks.lpips import load_lpips
from wordbrush.evaluation.networks.preparing import FLEXIT_SQUARE
from wordbrush.evaluation.networks.vision import load_classifier, load_features, load_structure
from wordbrush.evaluation.protocols import measures
from wordbrush.evaluation.protocols.judging import JUDGE_COLUMNS, find_judge
from wordbrush.evaluation.protocols.measuring import Measure, SetMeasure
from wordbrush.evaluation.protocols.set_measures import PICTURES, Real, csfid_measure, fid_measure
from wordbrush.evaluation.sets import ClassMeans

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.inception import Inception
    from wordbrush.evaluation.networks.vision import Features
    from wordbrush.evaluation.protocols.common import Entry

__all__ = [
    "NETWORK_KINDS",
    "Suite",
    "Weights",
    "coco_suite",
    "imagenet_suite",
    "parse_networks",
    "pie_suite",
    "prompts_suite",
]

NETWORK_KINDS: Final = ("lpips", "clip", "inception", "features", "classifier", "structure", "classes")
"""What `--network` names: the metric networks, and `classes`, the class means that CSFID compares with."""

_IN_FOLDER: Final = {"lpips": ".", "inception": ".", "classes": "class_means.safetensors"}


@dataclass(frozen=True)
class Weights:
    """The sources of the metric networks.

    Attributes:
        folder: holds `lpips_alex.safetensors`, `lpips_squeeze.safetensors`, `inception_fid.safetensors`,
            `class_means.safetensors` and the folders `clip`, `features`, `classifier`, `structure`; any may be missing.
        sources: folder, file or hub id by kind; wins over the folder.
    """

    folder: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def source(self, kind: str) -> str | Path | None:
        """Return the source of a network, or None where the user named none."""
        if kind in self.sources:
            return self.sources[kind]
        return None if self.folder is None else self.folder / _IN_FOLDER.get(kind, kind)


def parse_networks(items: Sequence[str]) -> dict[str, str]:
    """Read `KIND=SOURCE` items.

    Raises:
        SettingsError: an item is not like that, or its kind is unknown.
    """
    sources = {}
    for item in items:
        kind, equals, source = item.partition("=")
        if kind not in NETWORK_KINDS or not equals or not source:
            raise SettingsError(f"--network {item}: write KIND=SOURCE, KIND one of {', '.join(NETWORK_KINDS)}")
        sources[kind] = source
    return sources


@dataclass
class Suite:
    """The metrics of a run.

    Attributes:
        entries: those with a value for each entry.
        sets: those of all results together.
        skipped: (column, reason) of those that cannot be had.
    """

    entries: list[Measure] = field(default_factory=list)
    sets: list[SetMeasure] = field(default_factory=list)
    skipped: list[tuple[str, Skipped]] = field(default_factory=list)

    def add(self, found: Any, make: Any, *columns: str) -> None:
        """Add what `make(found)` returns, or note that its columns are skipped because `found` is."""
        if isinstance(found, Skipped):
            self.skipped += [(column, found) for column in columns]
            return
        measure = make(found)
        (self.sets if isinstance(measure, SetMeasure) else self.entries).append(measure)

    def columns(self) -> Iterator[str]:
        """Yield the names of everything that is measured."""
        for measure in self.entries:
            yield from measure.columns
        for measure_of_all in self.sets:
            yield from measure_of_all.columns


def _square_lpips(weights: Weights, column: str, times: float = 1.0) -> tuple[Any, Any, str]:
    network = load_lpips(weights.source("lpips"), "alex")
    return network, partial(measures.lpips_measure, preparation=FLEXIT_SQUARE, column=column, times=times), column


def imagenet_suite(weights: Weights, classes: Sequence[int]) -> Suite:
    """Return FlexIT's metrics: LPIPS (AlexNet, 256, times 100), accuracy, CSFID and SFID.

    Raises:
        ModelError: weights are there but are damaged or another network's.
    """
    suite = Suite([measures.distance_measure()])
    suite.add(*_square_lpips(weights, "lpips_alex_x100", 100.0))
    classifier = load_classifier(weights.source("classifier"))
    suite.add(
        classifier,
        partial(measures.classifier_measure, classes=classes),
        "accuracy",
        "unedited",
        "wrongly_edited",
    )
    inception, reference = load_inception(weights.source("inception")), _class_means(weights)
    if isinstance(reference, Skipped):
        suite.add(inception if isinstance(inception, Skipped) else reference, None, "csfid", "sfid")
    else:
        suite.add(inception, partial(csfid_measure, reference=reference), "csfid", "sfid")
    return suite


def _class_means(weights: Weights) -> ClassMeans | Skipped:
    source = weights.source("classes")
    if source is None:
        return Skipped("classes", "no class means were named: --network classes=FILE (convert FlexIT's statistics)")
    if not Path(source).is_file():
        return Skipped("classes", f"{source}: there is no such file of class means")
    return ClassMeans.load(Path(source))


def _text_suite(weights: Weights, real: Sequence[Path] | None, why: str) -> Suite:
    """Return CLIPScore, LPIPS and FID: the metrics of COCO and of prompts."""
    suite = Suite([measures.distance_measure()])
    suite.add(load_clip(weights.source("clip")), measures.clip_measure, "clip_score", "clip_score_input")
    suite.add(*_square_lpips(weights, "lpips_alex"))
    for network, mark in _feature_networks(weights):
        suite.add(network, partial(fid_measure, column=f"fid_inputs{mark}", real=None), f"fid_inputs{mark}")
        usable = network if real or isinstance(network, Skipped) else Skipped("fid", why)
        suite.add(
            usable, partial(fid_measure, column=f"fid_real{mark}", real=Real(tuple(real or ()))), f"fid_real{mark}"
        )
    return suite


def _feature_networks(weights: Weights) -> Iterator[tuple[Inception | Features | Skipped, str]]:
    """Yield Inception, the network of published figures, and another if there is one, in columns of its own."""
    yield load_inception(weights.source("inception")), ""
    other = load_features(weights.source("features"))
    if "features" in weights.sources or not isinstance(other, Skipped):
        yield other, "_features"


def coco_suite(weights: Weights, entries: Sequence[Entry]) -> Suite:
    """Return CLIPScore, LPIPS (AlexNet, 256) and FID, against the inputs and against the pictures the captions are of.

    Raises:
        ModelError: weights are there but are damaged or another network's.
    """
    real = dict.fromkeys(entry.picture.parent / entry.facts["true_file"] for entry in entries)
    there = [path for path in real if path.is_file()]
    return _text_suite(weights, there, "none of the pictures that the captions belong to is there")


def prompts_suite(weights: Weights, real: Path | None, judge: Path | None) -> Suite:
    """Return CLIPScore, LPIPS (AlexNet, 256), FID, and the judge's verdict.

    Args:
        weights: where networks come from.
        real: a folder of pictures that FID shall compare with, besides the inputs.
        judge: the judge's folder; by default the repository's.

    Raises:
        ModelError: weights are there but are damaged or another network's.
        InputError: `real` holds no picture.
    """
    paths = None
    if real is not None:
        paths = sorted(path for path in real.rglob("*") if path.suffix.lower() in PICTURES)
        if not paths:
            raise InputError(f"{real}: there is no picture in this folder (--real)")
    suite = _text_suite(weights, paths, "no folder of real pictures was named (--real FOLDER)")
    suite.add(find_judge(judge), lambda measure: measure, *JUDGE_COLUMNS)
    return suite


def pie_suite(weights: Weights) -> Suite:
    """Return PIE-Bench's metrics, and the agreement of the automatic masks with its masks.

    Raises:
        ModelError: weights are there but are damaged or another network's.
    """
    suite = Suite([measures.distance_measure(), measures.mask_measure(), measures.pie_background()])
    suite.add(load_structure(weights.source("structure")), measures.structure_measure, "structure_distance")
    lpips = load_lpips(weights.source("lpips"), "squeeze")
    suite.add(lpips, measures.pie_lpips, "pie_lpips_squeeze")
    columns = ("clip_score_source", "clip_score", "clip_score_masked")
    suite.add(load_clip(weights.source("clip")), measures.pie_clip, *columns)
    return suite
