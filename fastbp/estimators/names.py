"""An estimator's parameters by their names, which are looked up once for each class."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sklearn.base import BaseEstimator

__all__ = ["NamedParameters"]

# Of each class: scikit-learn looks at the signature in every call, and so in every `fit`.
_names: WeakKeyDictionary[type, list[str]] = WeakKeyDictionary()


class NamedParameters(BaseEstimator):
    """scikit-learn's estimator, but quick to tell its parameters."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters for this estimator.

        Parameters
        ----------
        deep : bool, default=True
            If True, will return the parameters for this estimator and contained subobjects that
            are estimators.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        kind = type(self)
        if not deep and kind in _names:
            return {name: getattr(self, name) for name in _names[kind]}
        found: dict[str, Any] = super().get_params(deep)
        if not deep:
            _names[kind] = [*found]
        return found
