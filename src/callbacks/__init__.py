"""Yours: what watches and protects a training, one Callback a file."""

from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    activation_checkpointing="ActivationCheckpointing",
    channels_last="ChannelsLast",
    compile="Compile",
    evaluation_figures="EvaluationFigures",
    finite_loss="FiniteLoss",
    freeze="Freeze",
    init_from="InitFrom",
    last_checkpoint="LastCheckpoint",
    norm_monitor="NormMonitor",
    overfit="Overfit",
    prediction_writer="PredictionWriter",
    progress="ProgressPrinter",
    result_writer="ResultWriter",
    run_notes="RunNotes",
    samples="SampleImages SampleTexts",
    speed_monitor="SpeedMonitor",
    start_check="StartCheck",
    temperature_scaling="TemperatureScaling",
    thread_limit="ThreadLimit",
    trace="Trace",
    training_images="TrainingImages",
    trial_report="TrialReport",
    weight_average="WeightAverage",
)
