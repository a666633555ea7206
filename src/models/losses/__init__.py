from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    elbo="NegativeElbo",
    sum_of_terms="SumOfTerms",
    weighted_sum="WeightedSum",
)
