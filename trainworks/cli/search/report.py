"""The results of a search: the best trials, the importance of parameters, figures, and best.yaml."""

import csv
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import optuna
import optuna.visualization.matplotlib as plots
from torch.utils.tensorboard import SummaryWriter

from trainworks.cli.config import left_to_data
from trainworks.cli.search.space import short
from trainworks.cli.search.study import Study
from trainworks.runs.files import shown_path
from trainworks.runs.yaml_files import Config, dump_yaml, load_file

NUM_TRIALS_SHOWN = 5
MIN_TRIALS = 10  # that tell of importance
EVALUATOR = optuna.importance.FanovaImportanceEvaluator(seed=0)  # Optuna's default tells what makes the best tenth
FIGURES: dict[str, Callable[..., Any]] = {
    "history": plots.plot_optimization_history,
    "slices": plots.plot_slice,
    "parallel_coordinates": plots.plot_parallel_coordinate,
    "importance": partial(plots.plot_param_importances, evaluator=EVALUATOR),
}


def report_search(study: Study, ranked: list[Any], config: Config) -> None:
    """Print the best trials of a finished search, which are ranked, and the importance of each parameter.

    It writes trials.csv, figures and best.yaml. `config` is the configuration of the best, before its data was asked.
    """
    folder, names = study.directory, list(study.search.objectives)
    _write_trials(study)
    counts = Counter(trial.state.name.lower().replace("fail", "failed") for trial in study.trials)
    print("\n" + ", ".join(f"{number} {state}" for state, number in counts.items()))
    print("none beaten in all objectives:" if len(names) > 1 else "the best:")
    for trial in ranked[:NUM_TRIALS_SHOWN]:
        values = "  ".join(f"{name} {value:.4f}" for name, value in zip(names, trial.values, strict=True))
        chosen = "  ".join(f"--{key} {short(value)}" for key, value in trial.params.items())
        print(f"  {trial.number:>3}  {values}  {chosen}")
    number, has_one = counts["complete"], len(names) == 1
    importance = _importance(study) if has_one and number >= MIN_TRIALS else {}
    if importance:
        print(
            f"importance (fANOVA over {number} trials: share of the variation of {names[0]} that a parameter explains):"
        )
        for key, share in importance.items():
            print(f"  {share:>5.0%}  {key}")
    elif has_one and number < MIN_TRIALS:
        print(f"importance of the parameters: not known from {number} trials; {MIN_TRIALS} are needed")
    written = _draw(study, bool(importance))
    print(f"figures: {', '.join(written)} in {shown_path(folder)}")
    if len(names) == 1:
        trained = load_file(str(study.run_of(ranked[0].number).directory / "config.yaml"))
        if left_to_data(config):  # with other data it shall not be frozen
            trained = config | {"seed_everything": trained["seed_everything"]}
        (folder / "best.yaml").write_text(dump_yaml(trained), encoding="utf-8")
        command = f"python train.py --config {shown_path(folder / 'best.yaml')}"
        print(f"trial {ranked[0].number} again, with a test: {command}")
    print(f"\ntensorboard --logdir {shown_path(folder.parent)}")


def _write_trials(study: Study) -> None:
    keys = [parameter.key for parameter in study.search.space]
    with (study.directory / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", *study.search.objectives, *keys, "reason", "run"])
        for trial in study.trials:
            values = trial.values or [""] * len(study.search.objectives)
            chosen = [trial.params.get(key, "") for key in keys]
            run = study.run_of(trial.number).directory
            state, reason = trial.state.name.lower(), trial.user_attrs.get("reason", "")
            writer.writerow([trial.number, state, *values, *chosen, reason, run])


def _importance(study: Study) -> dict[str, float]:
    """Return the importance of each parameter; empty where nothing differs."""
    with warnings.catch_warnings(action="error", category=UserWarning):
        try:
            return dict(optuna.importance.get_param_importances(study.optuna, evaluator=EVALUATOR))
        except (ValueError, RuntimeError, UserWarning):  # all trials with the same result
            return {}


def _draw(study: Study, has_importance: bool) -> list[str]:
    """Draw the figures of the trials as files and in TensorBoard, and return the names of the files."""
    several = len(study.search.objectives) > 1
    figures = {"front": plots.plot_pareto_front} if several else FIGURES
    figures = {name: draw for name, draw in figures.items() if name != "importance" or has_importance}
    written = []
    with SummaryWriter(str(study.directory)) as writer:
        for name, draw in figures.items():
            with warnings.catch_warnings(action="ignore"):
                try:
                    axes = draw(study.optuna)
                except (ValueError, RuntimeError):  # too few trials, or a single parameter
                    continue
                figure: Any = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
                figure.set_size_inches(max(10, 4 * len(study.search.space)), 6)
                figure.savefig(study.directory / f"{name}.png", dpi=120, bbox_inches="tight")
                writer.add_figure(f"search/{name}", figure, close=False)
            plt.close(figure)
            written.append(f"{name}.png")
    return written
