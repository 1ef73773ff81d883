"""Reports a training while it runs: TensorBoard's points and pictures, and history.csv."""

import re
import time

import numpy as np
import tensorflow as tf

import ops
from init_model import savedir

FETCH_EVERY = 0.5  # seconds; fetch losses at most this often: each fetch stalls the GPU
# How the losses of a step are shown, in the original's order.
SHOWN = (
    'EG_err {EG_loss:.4f} TV {tv_loss:.4f} / '
    'Ez {E_z_loss:.4f} Dz {D_z_loss_z:.4f} Dzp {D_z_loss_prior:.4f} / '
    'Gi {G_img_loss:.4f} Di {D_img_loss_input:.4f} DiG {D_img_loss_G:.4f}'
)
LOSSES = tuple(re.findall(r'{(\w+):', SHOWN))  # their names, in that order
RATE = 'EG_learning_rate'


class Summary:
    """The points, pictures and mean losses of a run; TensorBoard's writer must be the default one.

    Args:
        save_dir: folder of the run.
        run: a `Run`.
        size_batch: B.
        every: steps from one point to the next.
    """

    def __init__(self, save_dir, run, size_batch, every=1):
        self._save_dir, self._run = save_dir, run
        self._size_batch, self._every = size_batch, every
        self._point = tf.function(write_point, autograph=False)
        self._pending = []  # steps whose losses a GPU may still be computing
        self._fetched = time.time()

    def begin_epoch(self):
        """Start the epoch's clock, and its mean losses unless a part of it is done."""
        self._fetched = time.time()
        if not self._run.order.done:
            self._run.totals.clear()

    def add(self, losses, outputs, learning_rate):
        """Take the losses and outputs of the step that was just counted.

        Returns:
            dict of the losses as numbers if they were fetched, else None.
        """
        # TensorFlow caches a tensor per Python number; NumPy scalars avoid the leak.
        point = np.int64(self._run.step), losses, outputs, np.float32(learning_rate)
        self._pending.append(point)
        return self.fetch() if time.time() - self._fetched > FETCH_EVERY else None

    def fetch(self):
        """Wait for the steps that were added, and write their points.

        Returns:
            dict of the last step's losses as numbers; None if there were no steps.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        values = None
        for step, losses, outputs, rate in self._pending:
            values = {name: float(value) for name, value in losses.items()}
            ops.require_finite(values, f'at step {step}', self._run.kept)
            if step % self._every == 0:
                self._point(step, losses, outputs, rate)
            self._run.totals.update(values)
            self._rate = float(rate)
        if values:
            self._pending.clear()
            self._run.totals['seconds'] += time.time() - self._fetched
            self._fetched = time.time()
        return values

    def end_epoch(self, title):
        """Count an epoch, and say its mean losses.

        Returns:
            dict, its row of history.csv.
        """
        run = self._run
        mean = {name: value / run.order.done for name, value in run.totals.items()}
        speed = self._size_batch / mean.pop('seconds')
        savedir.tell(f'{title}: {SHOWN.format(**mean)} on average, {speed:.1f} faces/s')
        run.count_epoch()
        return {
            'epoch': run.epoch,
            'step': run.step,
            **{name: f'{mean[name]:.6f}' for name in LOSSES},
            RATE: f'{self._rate:.6g}',
            'seconds': f'{run.totals["seconds"]:.1f}',
            'faces_per_second': f'{speed:.2f}',
        }

    def show(self, name, picture):
        """Write a picture, uint8 [H, W, C]."""
        tf.summary.image(name, picture[None], np.int64(self._run.step))


def write_point(step, losses, outputs, learning_rate):
    """Write a point of the curves: `losses`, and histograms of `outputs`."""
    for name, value in {**losses, RATE: learning_rate}.items():
        if name != 'tv_loss':  # the original shows it nowhere
            tf.summary.scalar(name, value, step)
    for name, value in outputs.items():
        tf.summary.histogram(name, value, step)
