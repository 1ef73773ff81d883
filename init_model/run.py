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
    """The state of a training, besides the variables of its model.

    Attributes:
        weights: (w0, w1, w2) of the losses, see `FaceAging`; with other weights it is another run.
        epoch: epochs done.
        step: batches trained on, those of earlier runs of the same model included.
        order: the `TrainingOrder` of the faces; None until the data set is read.
        totals: the sum of each loss over the batches of this epoch so far, and their `seconds`.
        kept: names of the checkpoints that were written by this run and are kept, oldest first.
        saved: step of its newest checkpoint in save_dir, None if there is none.
        origin: path of the weights that it started from, None for fresh ones.
        held_out_by: what decides which faces `hold_out` leaves out, 'photo' or, in runs that began
            before this was known, 'name'; see `pipeline.load_data_set`.
        is_pre_training: whether main.py began it as a pre-training, which another run follows.
    """

    weights: tuple
    epoch: int = 0
    step: int = 0
    order: TrainingOrder | None = None
    totals: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    kept: list = dataclasses.field(default_factory=list)
    saved: int | None = None
    origin: str | None = None
    held_out_by: str = 'photo'
    is_pre_training: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether the model still has the weights that its layers drew."""
        return self.origin is None and not self.step

    @property
    def is_continued(self) -> bool:
        """Whether save_dir has a checkpoint of this run."""
        return self.saved is not None

    @property
    def is_current(self) -> bool:
        """Whether the newest checkpoint in save_dir is the model as it is now."""
        return self.saved == self.step

    @property
    def is_given(self) -> bool:
        """Whether the model has the weights of a checkpoint elsewhere, and nothing since."""
        return self.origin is not None and not self.is_continued and not self.step

    def with_weights(self, weights: Sequence[float], is_pre_training: bool = False) -> Run:
        """Return this run, or with other weights of the losses a new one that follows it.

        The new one begins at its first epoch; steps and checkpoints go on. With the same weights,
        a run is a pre-training as long as each call says so.
        """
        if tuple(weights) == self.weights:
            self.is_pre_training = is_pre_training
            return self
        return Run(
            tuple(weights),
            step=self.step,
            kept=self.kept,
            saved=self.saved,
            origin=self.origin,
            held_out_by=self.held_out_by,
            is_pre_training=is_pre_training,
        )

    def count_batch(self) -> None:
        """Count a batch that was trained on; it is one more of this epoch."""
        self.step += 1
        self.order.done += 1

    def count_epoch(self) -> None:
        """Count an epoch that is done."""
        self.epoch += 1
        self.order.done = 0

    def state(self) -> dict:
        """Return a dict for JSON, from which `from_state` makes the run again."""
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
    def from_state(cls, state: dict) -> Run:
        """Make a run from what `state` returned.

        Where it does not say so (older checkpoints), a run with all weights 0 is a pre-training:
        this is how those that were interrupted go on.

        Raises:
            InputError: its order of the faces is damaged.
        """
        # They will be removed: a checkpoint from somebody else must not name other files.
        names = [n for n in state.get('checkpoints', []) if re.fullmatch(r'model-\d+', str(n))]
        return cls(
            weights=tuple(state['weights']),
            epoch=state['epoch'],
            step=state['step'],
            order=TrainingOrder.from_state(state) if 'order' in state else None,
            totals=collections.Counter(state.get('totals', {})),
            kept=names,
            saved=state['step'],
            held_out_by=state.get('held_out_by', 'name'),
            is_pre_training=state.get('is_pre_training', not any(state['weights'])),
        )

    @classmethod
    def from_checkpoint(
        cls, checkpoint: checkpoints.Checkpoint, weights: tuple, goes_on: bool
    ) -> Run:
        """Make the run of a `Checkpoint`, or a new one that starts from its weights.

        Args:
            weights: of the losses of a new run.
            goes_on: whether the checkpoint is in save_dir, so that its run is continued.

        Raises:
            InputError: its order of the faces is damaged.
        """
        run = cls(weights, saved=0 if goes_on else None)  # of the original's, which has no state
        if goes_on and checkpoint.state:
            iterations = checkpoint.values.get('opt_EG/iteration', 0)  # where the step is missing
            run = cls.from_state({'step': int(iterations), **checkpoint.state})
        run.origin = checkpoint.origin
        return run

    def describe(self, weights: tuple) -> str:
        """Say in words how far it is, for a training with some weights of the losses."""
        if not self.step:
            return 'weights only'
        other = '' if self.weights == weights else f' of a training with weights {self.weights}'
        return f'epoch {self.epoch}, step {self.step}{other}'

    def save(self, folder: str, tensors: dict, settings: dict | None = None) -> None:
        """Write a checkpoint, model-<step>; remove those of this run that are superseded by it.

        Args:
            folder: of the checkpoints, made if need be.
            tensors: dict from variable names to tensors.
            settings: dict of the model, for JSON; without them the checkpoint holds weights only.

        Raises:
            InputError: the disk is full; the older checkpoints are still complete then.
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
