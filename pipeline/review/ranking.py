"""Which labels are doubtful: what photos of other groups say about each photo."""

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.linear_head import new_head

FOLDS = 5
STRENGTH = 3e-4
"""C, scikit-learn's inverse of the penalty's weight; as a prior, it is
the same for any number of photos.

On 4,082 photos with a tenth of the labels flipped, the top of the list held most flips with this
value (0.0001: nearly as many; 0.01: a fifth fewer). On 80 and on 400 of them, none of four values
from 0.0003 to 0.01 had a log loss that was better by more than 0.03.
"""

Features = NDArray[np.float32]
Ids = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def out_of_fold(features: Features, labels: Ids, groups: NDArray[np.str_]) -> Probabilities:
    """The probability of every class for each photo, by a head that has seen none of its group.

    Args:
        features: [N, D].
        labels: [N], in [0, K).
        groups: [N]; photos of one group are near-duplicates.

    Returns:
        [N, K]. Where a head has no photo of a class to learn from, the class has probability 0;
        where it has photos of one class alone, all are equally probable.
    """
    classes = int(labels.max()) + 1
    probabilities = np.full((len(labels), classes), 1 / classes)
    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=0)
    for seen, unseen in folds.split(features, labels, groups):
        if len(unseen) and len(known := np.unique(labels[seen])) > 1:
            head = new_head(STRENGTH).fit(features[seen], labels[seen])
            probabilities[unseen] = 0
            probabilities[np.ix_(unseen, known)] = head.predict_proba(features[unseen])
    return probabilities


def most_doubtful_first(labels: Ids, probabilities: Probabilities) -> Ids:
    """The photos' indices, [N], in the order in which a person should look at them.

    The score is the probability of the photo's own label. With flipped labels, its top held more of
    them than that of the normalized margin, and as many as that of the entropy-weighted one; what
    cleanlab's adjustment for uneven classes adds is within chance.
    """
    return np.argsort(get_label_quality_scores(labels, probabilities), kind="stable")
