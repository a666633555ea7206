import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainworks.cli.command import TRUST, Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.cli.config import typed_value
from trainworks.cli.console import silence_noise
from trainworks.cli.defaults import log_root
from trainworks.cli.request import Request
from trainworks.cli.search.series import first_seed, is_trained, series_name, train_once, typed, words_of
from trainworks.cli.search.space import Search, short
from trainworks.errors import UsageError, did_you_mean
from trainworks.runs.run import Run

NOT_LOGGED = "the search is for"  # how the reason begins where a trial does not log an objective
ALIKE = 3  # trials with the same mistake: the others have it too


def sweep(request: Request) -> int:
    """Train one trial after the other until there are enough, then name the best.

    The same command takes part in another terminal, or on a machine that sees the folder; after a stop it goes on.
    """
    from trainworks.cli.search.study import Study

    line, options = request.line, request.line.options
    silence_noise()
    stated = {key: typed_value(key, options[key]) for key in Search.__dataclass_fields__ if key in options}
    search = Search.read(options["sweep"], stated)
    if len(search.objectives) > 1 and "num_seeds" in options:
        raise UsageError("--num_seeds needs one objective: several have no best trial, but a front")
    words = words_of(line)
    _check(search, words)
    name = series_name(line, Path(options["sweep"]).stem)
    study = Study(search, Path(log_root(request.config), request.config["experiment"], name))
    study.check_same(words)
    print(f"{study.directory}: {search.num_trials} trials, {', '.join(search.objectives)}", flush=True)
    while True:
        with study.next_trial() as claimed:
            if claimed is None:
                break
            trial, chosen = claimed
            code = _run_trial(study, trial, request, [*words, *typed(chosen.items())])
            if code >= 128:  # stopped: the trial goes on when the command is started again
                print(f"stopped; the same command goes on: --run_name {name}")
                return code
    from trainworks.cli.search.report import report_search

    with study.lock:
        running = [trial for trial in study.trials if not trial.state.is_finished()]
        if running:
            print(f"{len(running)} trials still run elsewhere; the last to end names the best")
            return 0
        if not study.best:
            reasons = [trial.user_attrs.get("reason", "") for trial in study.trials]
            print(f"error: no trial came to its end; the first says: {reasons[0] if reasons else ''}", file=sys.stderr)
            return 1
        ranked = study.best
        if count := line.numbers.get("num_seeds"):
            ranked = _repeat(study, request, words, count, line.numbers.get("num_best", 3))
        best = CommandLine.parse(["fit", *words, *typed(ranked[0].params.items())])
        report_search(study, ranked, Request.build(best).config)
    return 0


def _train(run: Run, request: Request, words: list[str], callbacks: Sequence[dict[str, Any]] = ()) -> tuple[int, str]:
    """Train a run, or the rest of it, without showing anything; return the exit code and what went to stderr."""
    if is_trained(run, words):
        return 0, ""
    words = ["fit", *words, "--run_name", run.directory.name, "--resume", "auto"]
    return train_once(words, request.config, quiet=True, callbacks=callbacks)


def _run_trial(study: Any, trial: Any, request: Request, words: list[str]) -> int:
    """Train one trial, tell the study what came of it, and print a line."""
    from optuna.trial import TrialState

    run = study.run_of(trial.number)
    code, errors = _train(run, request, words, study.callbacks(trial.number))
    if code >= 128:
        return code
    values = _metrics_of(run, study.search.objectives) if code == 0 else {}
    reason = ""
    if code:
        reason = run.read().get("error") or errors.strip().rpartition("error: ")[2] or f"exit code {code}"
        reason = reason.replace("TrialReport monitors", NOT_LOGGED)
    elif missing := [name for name, value in values.items() if value is None]:
        name, logged = missing[0], run.read()["metrics"]
        near = did_you_mean(name, logged)
        absent = f"{NOT_LOGGED} '{name}', which was not logged{near}; logged: {', '.join(logged)}"
        reason = f"{name} is not finite" if name in logged else absent
    if reason:
        trial.set_user_attr("reason", reason)
        study.optuna.tell(trial, state=TrialState.FAIL)
        _stop_where_all_fail(study, reason, is_mistake=code == 2)
    elif "pruned" in study.trials[trial.number].user_attrs:
        study.optuna.tell(trial, state=TrialState.PRUNED)
    else:
        study.optuna.tell(trial, list(values.values()))
    _print_trial(study, trial.number, values, reason)
    return 0


def _stop_where_all_fail(study: Any, reason: str, is_mistake: bool) -> None:
    """End the search at a failure that the other trials would have too, before they are trained."""
    found = [trial.user_attrs.get("reason", "") for trial in study.trials if trial.state.is_finished()]
    alike = {re.sub(r"\d+", "", text) for text in found}  # sizes differ with what is searched
    if all(found) and (reason.startswith(NOT_LOGGED) or (is_mistake and len(found) >= ALIKE and len(alike) == 1)):
        study.discard()
        raise UsageError(reason if len(found) == 1 else f"the first {len(found)} trials failed alike: {reason}")


def _metrics_of(run: Run, objectives: dict[str, str]) -> dict[str, float | None]:
    """Return a run's objectives: of the best checkpoint where that is chosen by this metric alone, else the last."""
    record = run.read()
    known = record["metrics"] | (record["best"] if len(objectives) == 1 else {})
    return {name: known.get(name) for name in objectives}


def _print_trial(study: Any, number: int, values: dict[str, float | None], reason: str) -> None:
    trial = study.trials[number]
    shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
    if "pruned" in trial.user_attrs:
        shown += f"  pruned after epoch {trial.user_attrs['pruned'] + 1}"
    if reason:
        shown = f"failed: {reason.splitlines()[0].partition('. ')[0][:120]}"
    chosen = "  ".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in trial.params.items())
    best = study.best
    leader = f"  best so far: {best[0].number}" if len(study.search.objectives) == 1 and best else ""
    print(f"trial {number:>3}  {shown}  ({chosen}){leader}", flush=True)


def _repeat(study: Any, request: Request, words: list[str], count: int, num_best: int) -> list[Any]:
    """Train the best trials anew with other seeds, and order them by the mean; their own seed may have been luck."""
    first = first_seed(request.config)
    ((name, mode),) = study.search.objectives.items()
    means: list[tuple[float, Any]] = []
    print(f"\nthe best {num_best} with {count} other seeds: mean and deviation of {name}")
    for trial in study.best[:num_best]:
        found: list[float] = []
        for seed in range(first + 1, first + 1 + count):
            run = study.run_of(trial.number, seed)
            code, _ = _train(run, request, [*words, *typed([*trial.params.items(), ("seed_everything", seed)])])
            if code >= 128:
                raise KeyboardInterrupt
            value = _metrics_of(run, {name: mode})[name] if run.is_finished else None
            found += [] if value is None else [value]
        if len(found) < count:
            print(f"trial {trial.number:>3}  failed with {count - len(found)} of {count} other seeds: it is left out")
            continue
        mean, deviation = statistics.mean(found), statistics.stdev(found)
        means.append((mean, trial))
        print(f"trial {trial.number:>3}  {mean:.4f} ± {deviation:.4f}  (in the search {trial.value:.4f})", flush=True)
    runs = " ".join(f"'{study.run_of(trial.number).directory}-seed*'" for _, trial in means[:2])
    if len(means) > 1:
        print(f"whether they differ by more than noise: python train.py compare {runs} --sort_by {name} --mode {mode}")
    means.sort(key=lambda item: -item[0] if mode == "max" else item[0])
    return [trial for _, trial in means] or study.best


def _check(search: Search, words: list[str]) -> None:
    """Let the parser see the values of the search before the first trial."""
    from trainworks.cli.configuration import Configuration
    from trainworks.cli.facts import fill_in

    for chosen in search.corners():
        tried = typed(chosen.items())
        line = CommandLine.parse(["fit", *words, *tried])
        try:
            Configuration(fill_in(Request.build(line).config)[0], line)
        except UsageError as error:
            raise UsageError(f"with {' '.join(tried)}: {error}") from None


COMMAND = Command(
    sweep,
    "Search for the best values of some settings, one training after the other.",
    needs="configuration",
    options=(
        Option("sweep", "what is searched, such as configs/sweeps/digits.yaml", "FILE", required=True),
        Option("run_name", "name of the search; that of its file by default"),
        Option("num_seeds", "train the best trials again with so many other seeds", "N", minimum=2),
        Option("num_best", "how many trials --num_seeds repeats, 3 by default", "N", minimum=1),
        Option("num_trials", "overrides the file's key", "N", minimum=1),
        TRUST,
        *(
            Option(key, "overrides the file's key, as YAML", "VALUE")
            for key in ("sampler", "pruner", "storage", "objectives", "space")
        ),
    ),
)
