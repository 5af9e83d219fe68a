"""scikit-learn's interface: its MLP's parameters and results, trained by fastbp's kernels."""

try:
    import sklearn
except ImportError as error:
    raise ImportError(
        "fastbp.MLPClassifier and fastbp.MLPRegressor need scikit-learn 1.7 or later:"
        " pip install 'fastbp[sklearn]'"
    ) from error

if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):
    raise ImportError(
        "fastbp.MLPClassifier and fastbp.MLPRegressor need scikit-learn 1.7 or later, got"
        f" {sklearn.__version__}: pip install --upgrade 'fastbp[sklearn]'"
    )

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.many import fit_many
from fastbp.estimators.regressor import MLPRegressor
from fastbp.estimators.search import MLPSearchCV

__all__ = ["MLPClassifier", "MLPRegressor", "MLPSearchCV", "fit_many"]
