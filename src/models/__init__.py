"""Yours: one task a file. networks/, losses/, metrics/ hold its parts."""

from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    base="BaseModule",
    classifier="ClassifierModule",
    detector="DetectorModule",
    gan="GANModule",
    language_model="LanguageModelModule",
    load="load_model",
    multilabel="MultilabelModule",
    regressor="RegressorModule",
    segmenter="SegmenterModule",
    vae="VAEModule",
)
