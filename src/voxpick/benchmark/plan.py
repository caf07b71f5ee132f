"""What a benchmark will run: entries in order, the minutes of every stage, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voxpick.benchmark.abilities import Methods
from voxpick.benchmark.settings import MAIN_FILE, Entry, Settings, model_file
from voxpick.errors import VoxpickError

Part = tuple[str, str]
"""An entry, and a stage that it trains."""

BUDGETS = ("minutes", "steps", "epochs")

SET_BY_BENCHMARK = {
    "seed": f"{MAIN_FILE} names the seeds",
    "stream": f"entries train on the tomograms that {MAIN_FILE} names",
    "method": "the entry names its method",
    "stage": "changes are given stage by stage",
}
"""Training settings that a change cannot set, and what does."""


def order(entries: Mapping[str, Entry]) -> list[str]:
    """Names with every entry after those it needs. Raises VoxpickError for entries that need each other."""
    done: list[str] = []
    waiting = list(entries)
    while waiting:
        ready = [name for name in waiting if all(other in done for other in entries[name].needs)]
        if not ready:
            raise VoxpickError(f"the entries {', '.join(waiting)} need each other; one has to be trained without")
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def with_needed(names: list[str], entries: Mapping[str, Entry]) -> set[str]:
    """These entries and all whose models they use, directly or not. Raises VoxpickError for an unknown name."""
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in entries:
            raise VoxpickError(f"there is no entry {name!r}; there are {', '.join(entries)}")
        wanted.add(name)
        waiting += [other for other in entries[name].needs if other not in wanted]
    return wanted


def stages_to_train(entry: Entry, methods: Methods) -> tuple[str, ...]:
    """The stages an entry trains itself, in order.

    Raises VoxpickError for a method, a stage or a share that does not exist.
    """
    if entry.method not in methods:
        raise VoxpickError(f"unknown method {entry.method!r}; one of {', '.join(methods)}")
    if entry.model or entry.model_of:
        return ()
    own = methods[entry.method].stages
    if entry.localizer:
        own = tuple(stage for stage in own if stage == "classifier")
    elif entry.classifier:
        own = methods[entry.method].finding
    for key in (*entry.changes, *entry.split):
        if key not in own:
            raise VoxpickError(
                f"there is no stage {key!r} to train; {entry.method} trains {', '.join(own) or 'nothing'}"
            )
    if entry.split and set(entry.split) != set(own):
        raise VoxpickError(f"split names {', '.join(entry.split)}; give a share to each of {', '.join(own)}")
    return own


def stage_minutes(name: str, settings: Settings, methods: Methods) -> dict[str, float | None]:
    """Minutes of each stage that an entry trains: the benchmark's less those of the borrowed parts, split by share.

    None for a stage whose changes give a budget of their own, and for all where the benchmark gives none. Raises
    VoxpickError where the borrowed parts leave no time.
    """
    entry, total = settings.entries[name], settings.benchmark.minutes
    own = stages_to_train(entry, methods)
    if total is None:
        return dict.fromkeys(own)
    left = total - sum(_borrowed_minutes(entry, settings, methods))
    if own and left <= 0:
        raise VoxpickError(
            f"what it takes over was trained for all {total:g} minutes; give the other entry less, with split where it "
            "has several stages, or with minutes among the changes of its stage"
        )
    shares = {stage: entry.split.get(stage, 1.0) for stage in own}
    unit = left / sum(shares.values()) if shares else 0.0
    with_own = {stage for stage in own if any(entry.changes.get(stage, {}).get(key) for key in BUDGETS)}
    return {stage: None if stage in with_own else unit * share for stage, share in shares.items()}


def _borrowed_minutes(entry: Entry, settings: Settings, methods: Methods) -> list[float]:
    return [_minutes_of(part, settings, methods) for part in borrowed_parts(entry, settings, methods)]


def _minutes_of(part: Part, settings: Settings, methods: Methods) -> float:
    """What the stage was given, by the benchmark or by its own changes; 0 for a budget in steps or epochs."""
    name, stage = part
    given = stage_minutes(name, settings, methods)[stage]
    own = settings.entries[name].changes.get(stage, {}).get("minutes")
    return given if given is not None else float(own) if isinstance(own, int | float) else 0.0


def borrowed_parts(entry: Entry, settings: Settings, methods: Methods) -> list[Part]:
    """The trained stages of other entries that an entry detects with: those that find, then that which names."""
    found: list[Part] = []
    if other := entry.model_of or entry.localizer:
        found += finding_parts(other, settings, methods)
    donor = entry.classifier or entry.model_of
    namer = naming_entry(donor, settings, methods) if donor else None
    if namer is not None and "classifier" in stages_to_train(settings.entries[namer], methods):
        found.append((namer, "classifier"))
    return list(dict.fromkeys(found))


def finding_parts(name: str, settings: Settings, methods: Methods) -> list[Part]:
    """The trained stages that find an entry's particles; none where a given model does, or nothing that learns."""
    entry = settings.entries[name]
    if other := entry.model_of or entry.localizer:
        return finding_parts(other, settings, methods)
    trained = stages_to_train(entry, methods)
    return [(name, stage) for stage in methods[entry.method].finding if stage in trained]


def naming_entry(name: str, settings: Settings, methods: Methods) -> str | None:
    """The entry whose own model, trained or given, holds the classifier that an entry has; None where it has none."""
    entry = settings.entries[name]
    if other := entry.classifier or entry.model_of:
        return naming_entry(other, settings, methods)
    return name if "classifier" in methods[entry.method].stages else None


def seeds_of(name: str, settings: Settings, methods: Methods) -> list[int]:
    """The benchmark's seeds; the first alone for an entry for which nothing is trained, as all would give the same."""
    needed = with_needed([name], settings.entries)
    trains = any(stages_to_train(settings.entries[other], methods) for other in needed)
    return settings.benchmark.seeds if trains else settings.benchmark.seeds[:1]


def finder(name: str, settings: Settings) -> tuple[str, bool]:
    """The method that finds an entry's particles, and whether a classifier of another model names them."""
    entry = settings.entries[name]
    if entry.model_of or entry.localizer:
        method, named = finder(entry.model_of or entry.localizer or "", settings)
        return method, bool(named or entry.localizer or entry.classifier)
    return entry.method, entry.classifier is not None


def gives_names(name: str, settings: Settings, methods: Methods) -> bool:
    """Whether the entry's picks have classes."""
    method, named = finder(name, settings)
    return named or methods[method].names


def described(settings: Settings, methods: Methods, only: list[str]) -> list[str]:
    """A line for each entry that would be run: what is trained and for how long, and how it detects."""
    wanted, lines, total = with_needed(only or list(settings.entries), settings.entries), [], 0.0
    for name in order(settings.entries):
        if name not in wanted:
            continue
        entry, seeds = settings.entries[name], seeds_of(name, settings, methods)
        minutes = stage_minutes(name, settings, methods)
        total += len(seeds) * sum(value or 0.0 for value in minutes.values())
        parts = [f"{stage} {'its own budget' if n is None else f'{n:g} min'}" for stage, n in minutes.items()]
        parts += [f"{part.removesuffix('_of')} of {other}" for part in ("model_of", "localizer", "classifier")
                  if (other := getattr(entry, part))]  # fmt: skip
        detection = [f"{key}={value}" for key, value in entry.detection.items()]
        detection += ["as its paper"] if entry.paper_detection else []
        what = f"; detection: {', '.join(detection)}" if detection else ""
        lines.append(
            f"{name} ({entry.method}), seeds {', '.join(map(str, seeds))}: {', '.join(parts) or 'no training'}{what}"
        )
    return [*lines, f"{len(lines)} entries, {total:g} minutes of training in all"]


def check(settings: Settings, methods: Methods, folder: Path) -> None:
    """Raise VoxpickError, with the file, for what can be known to fail beforehand. folder: that of the settings."""
    try:
        order(settings.entries)
    except VoxpickError as error:
        raise VoxpickError(f"{MAIN_FILE}: {error}") from error
    for check_one in (_check_stages, _check_entry, _check_training, _check_detection):
        for name in settings.entries:
            try:
                check_one(name, settings, methods, folder)
            except VoxpickError as error:
                raise VoxpickError(f"{name}.yaml: {error}") from error


def _check_stages(name: str, settings: Settings, methods: Methods, folder: Path) -> None:
    stages_to_train(settings.entries[name], methods)


def _check_entry(name: str, settings: Settings, methods: Methods, folder: Path) -> None:
    entry = settings.entries[name]
    own = stages_to_train(entry, methods)
    method = methods[entry.method]
    if not method.stages and (entry.model or entry.model_of or entry.localizer):
        raise VoxpickError(
            f"{entry.method} learns nothing, so it has no model to take or to train; give its entry detection, and "
            "classifier if another entry's names what it finds"
        )
    if entry.model:
        method.check_model(_model(entry.model, folder))
    if entry.model_of and not methods[finder(entry.model_of, settings)[0]].stages:
        raise VoxpickError(
            f"the entry {entry.model_of!r} finds without a model, so it has none to lend; give this one the method and "
            "detection of its own"
        )
    if entry.classifier:
        _check_donor(entry.classifier, settings, methods, folder)
    stage_minutes(name, settings, methods)
    if not method.stages:
        return
    trained = entry.model or entry.model_of
    if entry.localizer and not own:
        raise VoxpickError(
            f"{entry.method} has no classifier to train; leave localizer out, or take a method that has one, such as "
            "densenet"
        )
    if not method.finds and entry.classifier and not trained:
        raise VoxpickError(f"{entry.method} has nothing to train here; leave it to another entry's model_of")
    if not method.finds and not (entry.localizer or trained):
        raise VoxpickError(f"{entry.method} only names particles; say with localizer whose model finds them")


def _check_donor(name: str, settings: Settings, methods: Methods, folder: Path) -> None:
    """Raise VoxpickError for an entry that has no classifier to name by."""
    namer = naming_entry(name, settings, methods)
    if namer is None:
        raise VoxpickError(f"the entry {name!r} has no classifier; name one whose method has the stage 'classifier'")
    donor = settings.entries[namer]
    if donor.model:
        methods[donor.method].check_classifier(_model(donor.model, folder))


def _model(given: str, folder: Path) -> str:
    """The file of an entry's `model`, or its name as it is given where there is none."""
    file = model_file(folder, given)
    return str(file) if file.exists() else given


def _check_training(name: str, settings: Settings, methods: Methods, folder: Path) -> None:
    entry = settings.entries[name]
    for stage in stages_to_train(entry, methods):
        for key in SET_BY_BENCHMARK:
            if key in entry.changes.get(stage, {}):
                raise VoxpickError(f"{stage}: {key} is no change to training; {SET_BY_BENCHMARK[key]}")
        try:
            methods[entry.method].check_training(stage, entry.preset, entry.changes.get(stage, {}))
        except VoxpickError as error:
            raise VoxpickError(f"{stage}: {error}") from error


def _check_detection(name: str, settings: Settings, methods: Methods, folder: Path) -> None:
    entry = settings.entries[name]
    method, named = finder(name, settings)
    if entry.paper_detection and not methods[method].paper_detection:
        raise VoxpickError(f"paper_detection: {method} has no steps beside its usual ones; leave it out")
    methods[method].check_detection(entry.detection, named)
