"""A classifier on a backbone's features, for what looks at photos without training a model."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def new_head(strength: float) -> Pipeline:
    """A logistic regression on standardized features in which every class has the same say.

    Args:
        strength: C, scikit-learn's inverse of the penalty's weight.
    """
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
    )
