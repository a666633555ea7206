from typing import Any

from trainworks.cli.command import BOOLEAN, CHECKPOINT_OPTIONS, Command, Option


def predict(session: Any) -> None:
    """Predict on a part of the data, or on what --input names."""
    from trainworks.cli.evaluation import evaluate
    from trainworks.cli.predict_input import input_data, predict_in_tiles, set_up_writer

    if {"tile", "overlap"} & session.request.line.options.keys():
        return predict_in_tiles(session)
    writer = set_up_writer(session)
    inputs = input_data(session, writer) if "input" in session.request.line.options else None
    evaluate(session, "predict", session.request.ckpt_path, inputs)


COMMAND = Command(
    predict,
    "Predict with a checkpoint, on new inputs or on the test samples, and write a row for each of them.",
    needs="trainer",
    directory="evaluated",
    options=(
        *CHECKPOINT_OPTIONS,
        Option("input", "a folder, a file, a list in a .txt or .csv file, a table, or - for standard input", "X"),
        Option("output", "the .csv or .parquet file to write; predictions.csv in the run directory by default", "FILE"),
        Option("top_k", "so many of the likeliest classes", "N", minimum=1),
        Option("probabilities", "whether to write the probability of each class", choices=BOOLEAN),
        Option("draw", "whether to draw masks and boxes over their images", choices=BOOLEAN),
        Option(
            "tile", "predict masks or boxes on large images in squares of so many pixels, such as 512", "N", minimum=1
        ),
        Option("overlap", "so many pixels that neighbouring squares share, 64 by default", "N", minimum=0),
        Option("flip", "whether to take the mean over an image and its mirror image", choices=BOOLEAN),
    ),
)
