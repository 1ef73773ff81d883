"""The state of a training: how far it is, and what it needs to go on from there."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Sequence

from data.order import TrainingOrder
from init_model import checkpoints

KEEP_CHECKPOINTS = 2  # the newest ones of a run; older ones are removed


@dataclasses.dataclass
class Run:
    """The state of a training, besides the variables of its model."""

    weights: tuple  # (w0, w1, w2) of the losses, see FaceAging; with others it is another run
    epoch: int = 0  # epochs done
    step: int = 0  # batches trained on, those of earlier runs of the same model included
    order: TrainingOrder | None = None  # of the faces; None until the data set is read
    # The sum of each loss over the batches of this epoch so far, and their `seconds`.
    totals: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # Names of the checkpoints that were written by this run and are kept, oldest first.
    kept: list = dataclasses.field(default_factory=list)
    saved: int | None = None  # step of its newest checkpoint in save_dir
    origin: str | None = None  # path of the weights that it started from, None for fresh ones
    # What `hold_out` goes by; 'name' in older checkpoints. See `pipeline.load_data_set`.
    held_out_by: str = 'photo'
    is_pre_training: bool = False  # begun by main.py as one, which another run follows

    @property
    def is_fresh(self) -> bool:
        """Whether the model still has the weights that its layers drew."""
        return self.origin is None and not self.step

    @property
    def is_current(self) -> bool:
        """Whether the newest checkpoint in save_dir is the model as it is now."""
        return self.saved == self.step

    @property
    def is_given(self) -> bool:
        """Whether the model has the weights of a checkpoint elsewhere, and nothing since."""
        return self.origin is not None and self.saved is None and not self.step

    def with_weights(self, weights: Sequence[float], is_pre_training: bool = False) -> Run:
        """Return this run, or with other weights of the losses a new one that follows it.

        The new one begins at its first epoch; steps and checkpoints go on. With the same weights,
        a run is a pre-training as long as each call says so.
        """
        new = {'is_pre_training': is_pre_training}
        if tuple(weights) != self.weights:
            new |= {'epoch': 0, 'order': None, 'totals': collections.Counter()}
        return dataclasses.replace(self, weights=tuple(weights), **new)

    def state(self) -> dict:
        """Return a dict for JSON, from which `from_checkpoint` makes the run again."""
        return {
            'epoch': self.epoch,
            'step': self.step,
            'weights': self.weights,
            'checkpoints': self.kept,
            'totals': self.totals,
            'held_out_by': self.held_out_by,
            'is_pre_training': self.is_pre_training,
            **(self.order.state() if self.order else {}),
        }

    @classmethod
    def from_checkpoint(cls, found: checkpoints.Checkpoint, weights: tuple, goes_on: bool) -> Run:
        """Make the run of a `Checkpoint`, if it is in save_dir and `goes_on`.

        Else a new one with these weights of the losses, which starts from its variables. An
        InputError says that its order of the faces is damaged.
        """
        state = found.state
        if not (goes_on and state):  # the original's checkpoints have no state
            return cls(weights, saved=0 if goes_on else None, origin=found.origin)
        step = state.get('step', int(found.values.get('opt_EG/iteration', 0)))
        # They will be removed: a checkpoint from somebody else must not name other files.
        names = [n for n in state.get('checkpoints', []) if re.fullmatch(r'model-\d+', str(n))]
        return cls(
            weights=tuple(state['weights']),
            epoch=state['epoch'],
            step=step,
            order=TrainingOrder.from_state(state) if 'order' in state else None,
            totals=collections.Counter(state.get('totals', {})),
            kept=names,
            saved=step,
            origin=found.origin,
            held_out_by=state.get('held_out_by', 'name'),
            # Older checkpoints do not say so; this is how pre-trainings that were stopped go on.
            is_pre_training=state.get('is_pre_training', not any(state['weights'])),
        )

    def describe(self, weights: tuple) -> str:
        """Say in words how far it is, for a training with some weights of the losses."""
        if not self.step:
            return 'weights only'
        other = '' if self.weights == weights else f' of a training with weights {self.weights}'
        return f'epoch {self.epoch}, step {self.step}{other}'

    def save(self, folder: str, tensors: dict, settings: dict | None = None) -> None:
        """Write a checkpoint, model-<step>; remove those of this run that are superseded by it.

        Folder, tensors and errors are those of `checkpoints.save`. Without `settings` of the model,
        a dict for JSON, the checkpoint holds weights only.
        """
        name = f'model-{self.step}'
        # Only checkpoints of this run are removed, not one that the user put there.
        others = [other for other in self.kept if other != name]
        superseded, kept = others[: 1 - KEEP_CHECKPOINTS], others[1 - KEEP_CHECKPOINTS :]
        if settings:
            state = {**self.state(), 'checkpoints': [*others, name], 'settings': settings}
            tensors = {**tensors, checkpoints.STATE: json.dumps(state)}
        checkpoints.save(folder, name, tensors, kept)
        self.kept, self.saved = [*kept, name], self.step
        for old in superseded:
            checkpoints.remove(folder, old)
