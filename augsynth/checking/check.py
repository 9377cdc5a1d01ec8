"""`augsynth.check`: all that is wrong or suspicious in one dataset, or in several that are splits of one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from augsynth.checking.boxes import check_boxes
from augsynth.checking.findings import KINDS, LEVELS, Case, Finding, refused, repaired
from augsynth.checking.fixing import CHANGES, cleaned, copy_names, in_the_way, write_cleaned
from augsynth.checking.labels import check_labels
from augsynth.checking.overview import Overview, look_over
from augsynth.checking.pictures import check_pictures, same_names
from augsynth.checking.splits import check_categories
from augsynth.coco.faults import REPAIRS, shown
from augsynth.coco.formats.known import input_paths
from augsynth.coco.reader import Reading, read_past_faults
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.images import read_image
from augsynth.core.outputs import check_output_folder
from augsynth.core.scene import Dataset

Paths = str | Path | Sequence[str | Path]
Progress = Callable[[str, int, int], None]
_OF_OBJECTS = ("bbox", "segmentation", "area", "iscrowd")  # repairs whose names are ids of annotations


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What a check found.

    Attributes:
        findings: By level, then by file.
        overviews: Each dataset in figures; none for one of which nothing can be read.
        sources: The annotation files.
        readings: As they were read, in the same order.
    """

    findings: tuple[Finding, ...]
    overviews: tuple[Overview, ...]
    sources: tuple[Path, ...]
    readings: tuple[Reading, ...]

    @property
    def clean(self) -> bool:
        """Whether there is nothing but notes."""
        return all(finding.level == "note" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return findings and overviews as plain values for JSON."""
        counts = Counter(finding.level for finding in self.findings for _ in range(finding.count))
        return {
            "clean": self.clean,
            "counts": {level: counts[level] for level in LEVELS},
            "datasets": msgspec.to_builtins(self.overviews, str_keys=True),
            "findings": msgspec.to_builtins(self.findings),
        }

    def write_page(self, path: str | Path) -> None:
        """Write a page of pictures: one HTML file that needs nothing else.

        Raises:
            ConfigError: Something that isn't such a page is there.
            OutputError: It can't be written.
        """
        from augsynth.checking.page import write_page

        write_page(Path(path), self)

    def write_fixed(self, folder: str | Path) -> list[Path]:
        """Write a cleaned copy of each annotation file and `changes.json` into an empty folder.

        Raises:
            ConfigError: The folder holds something.
            DatasetError: A file has records that only a person can mend; nothing is written.
            OutputError: It can't be written.
        """
        check_output_folder(Path(folder), inputs=input_paths(*self.sources))
        for source, reading in zip(self.sources, self.readings, strict=True):
            faults = in_the_way(reading)
            if faults:
                more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
                told = str(faults[0].error(source))
                raise DatasetError(f"{told}{more}: only you can mend that, so no cleaned copy is written")
        names = copy_names(self.sources)
        if CHANGES in names:
            raise ConfigError(
                f"{self.sources[names.index(CHANGES)]}: rename it; the list of changes has that name"
            )
        documents = [
            (name, *cleaned(reading, reading.dataset))
            for name, reading in zip(names, self.readings, strict=True)
            if reading.dataset is not None
        ]
        left = [
            {"kind": f.kind, "level": f.level, "file": Path(f.file).name, "count": f.count, "what": f.message}
            for f in self.findings
            if not f.fixable
        ]
        return write_cleaned(Path(folder), documents, left)


def check(
    annotations: Paths,
    images: Paths | None = None,
    *,
    detector: str | Path | None = None,
    detector_revision: str | None = None,
    device: str = "cpu",
    ignore: Sequence[str] = (),
    progress: Progress = lambda what, done, of: None,
) -> Check:
    """Find what is wrong or suspicious in a dataset; nothing is changed.

    Args:
        annotations: A COCO file or a dataset of another format, or several that are splits of one: then what they share
            is found, too.
        images: The image directory of all of them, or one for each; without it that of a COCO file is looked for near
            it, and where it isn't found pictures aren't looked at.
        detector: As for `generate`: its view of labels is asked for, too. It must not be trained on these pictures.
        detector_revision: Commit or tag of a hub id.
        device: Where the detector runs.
        ignore: Kinds of findings that are left out.
        progress: Called with what is looked at, how much is done, and of how much.

    Raises:
        BackendError: The detector can't be loaded.
        ConfigError: An option is wrong.
        DatasetError: A file can't be read, isn't a COCO file, or no image has a file.
    """
    sources, roots = _paths(annotations), _roots(annotations, images)
    unknown = [kind for kind in ignore if kind not in KINDS]
    if unknown:
        raise ConfigError(
            f"ignore names {unknown[0]!r}, no kind of finding; the kinds are {', '.join(KINDS)}"
        )
    readings = [read_past_faults(s, images=r) for s, r in zip(sources, roots, strict=True)]
    datasets = [reading.dataset for reading in readings if reading.dataset is not None]
    with_pictures = [dataset for dataset in datasets if dataset.image_root is not None]
    if detector is not None and len(with_pictures) < len(datasets):
        raise ConfigError("a detector looks at pictures; give the image directory with --images, too")
    found: list[Finding] = []
    for source, reading in zip(sources, readings, strict=True):
        found += _refusals(source, reading)
        found += _repairs(source, reading, _listed(datasets, reading.dataset))
    found += check_categories(datasets)
    overviews = []
    for dataset in datasets:
        overview, noted = look_over(dataset)
        overviews.append(overview)
        found += [*check_boxes(dataset), *noted]
    found += check_pictures(with_pictures, lambda done, of: progress("pictures", done, of))
    if len(with_pictures) < len(datasets):
        found += same_names(datasets)
    if detector is not None:
        found += _labels(datasets, str(detector), detector_revision, device, progress)
    kept = [finding for finding in found if finding.kind not in ignore]
    kept.sort(key=lambda finding: LEVELS.index(finding.level))
    return Check(tuple(kept), tuple(overviews), tuple(sources), tuple(readings))


def _paths(given: Paths) -> list[Path]:
    paths = [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]
    if not paths:
        raise ConfigError("annotations is empty; give at least one COCO file")
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice; give each split once")
    return paths


def _roots(annotations: Paths, images: Paths | None) -> list[Path | None]:
    number = len(_paths(annotations))
    if images is None:
        return [None] * number
    roots = [Path(images)] if isinstance(images, str | Path) else [Path(path) for path in images]
    if len(roots) not in (1, number):
        raise ConfigError(
            f"{number} annotation files but {len(roots)} image directories; give one, or one for each"
        )
    return list(roots * number if len(roots) == 1 else roots)


def _refusals(source: Path, reading: Reading) -> list[Finding]:
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for fault in reading.faults:
        name = f"{fault.block}[{fault.index}]" + (
            f" (id {shown(fault.record['id'])})" if "id" in fault.record else ""
        )
        groups[fault.kind, fault.field].append(Case(name=name, note=f"{fault.field} {fault.problem}"))
    return [refused(kind, str(source), field, cases) for (kind, field), cases in groups.items()]


def _listed(datasets: Sequence[Dataset], own: Dataset | None) -> frozenset[str]:
    """Return the file names that the other splits list in the same image directory."""
    return frozenset(
        scene.file_name
        for dataset in datasets
        if own is not None and dataset is not own and dataset.image_root == own.image_root
        for scene in dataset.scenes
    )


def _repairs(source: Path, reading: Reading, listed: frozenset[str]) -> list[Finding]:
    document: Mapping[str, Any] = reading.dataset.document if reading.dataset else {}
    wanted = {n for kind, r in reading.repairs.items() if REPAIRS[kind][0] in _OF_OBJECTS for n in r.examples}
    at = {n: record for record in document.get("annotations", ()) if (n := str(record["id"])) in wanted}
    names_of = {record["id"]: record["file_name"] for record in document.get("images", ())}
    found = []
    for kind, repair in reading.repairs.items():
        names, count = list(repair.examples), repair.count
        if kind == "unlisted_files":
            names = [name for name in names if name not in listed]
            count = len(names) if count == len(repair.examples) else max(len(names), count - len(listed))
        if not count:
            continue
        by_object = REPAIRS[kind][0] in _OF_OBJECTS
        cases = [_case_of_record(at[n], names_of) if by_object and n in at else Case(name=n) for n in names]
        found.append(repaired(kind, str(source), count, cases))
    return found


def _case_of_record(record: Mapping[str, Any], names_of: Mapping[int, str]) -> Case:
    return Case(
        image_id=record["image_id"],
        file_name=names_of[record["image_id"]],
        annotation_ids=(record["id"],),
        boxes_xywh=(tuple(record["bbox"]),),
    )


def _labels(
    datasets: Sequence[Dataset], model: str, revision: str | None, device: str, progress: Progress
) -> list[Finding]:
    from augsynth.detectors.loading import load_detector

    found = []
    for dataset in datasets:
        used = dataset.categories_in_use()
        if not used:
            continue
        detector = load_detector(model, used, device=device, revision=revision)
        found += check_labels(
            dataset,
            detector,
            lambda scene, dataset=dataset: read_image(dataset, scene),  # type: ignore[misc]
            lambda done, of: progress("labels", done, of),
        )
    return found
