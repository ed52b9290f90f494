"""LeNets as scikit-learn estimators: :class:`LeNetClassifier` and :class:`LeNetFeatures`.

Use them in pipelines like any other: they take rows of numbers and classes of any kind, and
scikit-learn's own tools split, search and score. Internally they use the networks and engines of
this package, which learn from ten thousand digits in seconds.

Examples
--------
>>> from sklearn.model_selection import cross_val_score
>>> from lenet_fast import data
>>> from lenet_fast.sklearn import LeNetClassifier
>>> digits = data.load("sample").train.subset(600)
>>> X, y = digits.images.reshape(600, 784), digits.labels
>>> scores = cross_val_score(LeNetClassifier(random_state=0), X, y, cv=3)
>>> bool(scores.mean() > 0.8)
True
"""

from lenet_fast import cures as _cures

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"lenet_fast.sklearn needs scikit-learn: {_cures.install('lenet_fast[sklearn]')}"
    ) from error

from lenet_fast.sklearn._estimators import LeNetClassifier, LeNetFeatures
from lenet_fast.sklearn._scale import TableWarning

__all__ = ["LeNetClassifier", "LeNetFeatures", "TableWarning"]
