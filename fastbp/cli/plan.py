"""What `fastbp train` is to do: by its options, and by the model that it goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastbp.activations import Activations
from fastbp.cli.console import UserError
from fastbp.cli.options import RATES
from fastbp.cli.pictures import PictureModel, load_model
from fastbp.early_stopping import EarlyStopping
from fastbp.schedules import Schedule, from_description

__all__ = ["TrainingPlan", "resume"]


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides what is trained and how, but the pictures.

    The defaults are in the middle of a wide range that trains networks of both 3-2 and 64 hidden
    units well on photographs and on generated pictures.

    Attributes
    ----------
    loss : str or None
        None is log loss for two classes, else cross entropy.
    init : str, float or None
        None is by the activations.
    batch_size : int or None
        None is all pictures.
    learning_rate : float, schedule or None
        None is that of the optimizer, see `rate`.
    patience : int or None
        Epochs that may pass without a lower loss on the test pictures.
    seconds : float or None
        That the training may take.
    seed : int or None
        None is that of the training that is gone on with.
    others : dict
        More of what `Network.fit` takes.
    """

    hidden: tuple[int, ...] = (3, 2)
    activation: Activations = "sigmoid"
    loss: str | None = None
    init: str | float | None = None
    batch_size: int | None = 32
    epochs: int = 60
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    learning_rate: float | Schedule | None = None
    weight_decay: float = 0.003
    dropout: float | tuple[float, ...] = 0.0
    patience: int | None = None
    seconds: float | None = None
    seed: int | None = 0
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float | Schedule | None:
        """The learning rate, or the schedule of it."""
        return RATES.get(self.optimizer) if self.learning_rate is None else self.learning_rate

    def settings(self) -> dict[str, Any]:
        """What `Network.fit` is told, but for the data."""
        patience = self.patience
        return {
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "optimizer": self.optimizer,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "learning_rate": self.rate,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "early_stopping": None if patience is None else EarlyStopping(patience=patience),
            "max_seconds": self.seconds,
            "seed": self.seed,
            **self.others,
        }


def resume(
    path: Path, plan: TrainingPlan, given: AbstractSet[str]
) -> tuple[PictureModel, TrainingPlan]:
    """Read a model, and plan to go on with its training.

    Parameters
    ----------
    path : Path
        Of the model.
    plan : TrainingPlan
        By the options.
    given : set of str
        The fields of the plan that the user has given: all others that are of the network, and of
        how it is trained, are as the model's last training had them.

    Raises
    ------
    UserError
        If the model cannot be read, is another network than the options ask for, or was trained as
        no options tell.
    """
    model = load_model(path)
    _check_same(path, plan, given, model)
    settings = model.network.training_settings
    if settings.get("class_weight") is not None:
        raise UserError(f"{path} was trained with class weights: go on with it in Python")
    kept = {"optimizer", "batch_size", "weight_decay", "dropout"}
    others = {"shuffle"}
    optimizer = settings.get("optimizer", "sgd")  # format version 1 had no other
    if "optimizer" not in given or plan.optimizer == optimizer:
        kept |= {"learning_rate", "momentum"}
        others |= {"beta_1", "beta_2", "epsilon", "clip_norm"}
        if not given & {"momentum", "nesterov"}:
            kept.add("nesterov")
    known = {name: settings[name] for name in (kept - given) & settings.keys()}
    if "learning_rate" in known:
        known["learning_rate"] = _rate(path, known["learning_rate"])
    more = {name: settings[name] for name in others & settings.keys()}
    seed = plan.seed if "seed" in given else None
    return model, replace(plan, **known, seed=seed, others=more)


def _check_same(
    path: Path, plan: TrainingPlan, given: AbstractSet[str], model: PictureModel
) -> None:
    """Check that the network is what the options ask for, as far as they do."""
    network = model.network
    hidden = network.layer_sizes[1:-1]
    wanted = plan.activation
    if isinstance(wanted, str):
        wanted = (wanted,) * len(hidden)
    for name, asked, got in (
        ("hidden", plan.hidden, hidden),
        ("activation", wanted, network.layer_activations),
        ("loss", plan.loss, network.loss_function),
    ):
        if name in given and asked != got:
            words = [
                value if isinstance(value, str) else ",".join(map(str, value)) or "none"
                for value in (got, asked or "none")
            ]
            raise UserError(f"the network in {path} has --{name} {words[0]}, not {words[1]}")
    if "init" in given:
        raise UserError("--init is for new networks, and --from goes on with one")


def _rate(path: Path, description: Any) -> Any:
    """The learning rate of a file's training, or its schedule."""
    if not isinstance(description, str | Mapping):
        return description
    try:
        return from_description(description)
    except ValueError as error:
        raise UserError(
            f"{path} was trained with learning rates that a function gave: give --learning-rate"
        ) from error
