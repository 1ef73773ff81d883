"""The loop of a training: its epochs, what it reports and writes, when it saves and stops."""

import contextlib
import dataclasses
import math
import os
import re
import signal
import time
import typing
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import ops
from data import devices, pipeline
from data.console import Progress, Stopped
from init_model import checkpoints, savedir

SAVE_EVERY = 5  # epochs between two checkpoints
FETCH_EVERY = 0.5  # seconds; fetch losses at most this often: each fetch stalls the GPU
# How the losses of a step are shown, in the original's order.
SHOWN = (
    'EG_err {EG_loss:.4f} TV {tv_loss:.4f} / '
    'Ez {E_z_loss:.4f} Dz {D_z_loss_z:.4f} Dzp {D_z_loss_prior:.4f} / '
    'Gi {G_img_loss:.4f} Di {D_img_loss_input:.4f} DiG {D_img_loss_G:.4f}'
)
LOSSES = tuple(re.findall(r'{(\w+):', SHOWN))  # their names, in that order
RATE = 'EG_learning_rate'


@dataclasses.dataclass
class TrainingLoop:
    """Trains a model epoch by epoch; reports and saves its run, and stops it at a signal."""

    model: typing.Any  # a FaceAging; `run` is its state
    data: tuple  # faces, ages, genders, as `pipeline.batches` takes them
    num_epochs: int  # to be trained in all
    schedule: Callable  # from the number of steps taken to the learning rate
    enable_shuffle: bool  # the faces before each epoch

    def __post_init__(self):
        self._run = self.model.run
        self._count = self._run.order.num_batches  # of an epoch
        faces, ages, genders = self.data
        shown = self._run.order.samples
        self._samples = pipeline.to_float(faces[shown]), ages[shown], genders[shown]
        self._write_point = tf.function(write_point, autograph=False)
        self._pending = []  # steps whose losses a GPU may still be computing

    def run(self) -> None:
        """Train until `num_epochs` are done in all; raise what `FaceAging.train` does."""
        model = self.model
        variables = model.named_variables.values()
        savedir.say_and_log(
            f'\n\tTraining from epoch {self._run.epoch + 1} to {self.num_epochs}: '
            f'{len(self.data[0])} faces, {self._count} batches of {model.size_batch}, '
            f'{sum(math.prod(v.shape) for v in variables):,} parameters, {model.precision}, on '
            + ', '.join(device.name for device in tf.config.list_logical_devices())
        )
        writer = tf.summary.create_noop_writer()
        if model.is_chief:
            size = checkpoints.size_of(model.saved_variables())
            savedir.make_ready(model.save_dir, self._run, size)
            with self._summary_only():
                writer = tf.summary.create_file_writer(f'{model.save_dir}/{savedir.SUMMARY}')
                if not (self._run.step or tf.config.functions_run_eagerly()):
                    with writer.as_default():
                        tf.summary.graph(graph_of(model))
        with (
            contextlib.closing(writer),
            writer.as_default(),
            savedir.signals() as self._received,
        ):
            while self._run.epoch < self.num_epochs:
                self._train_epoch()
                self._end_epoch()

    def _train_epoch(self):
        """Train on the batches that are left in this epoch."""
        model, run = self.model, self._run
        faces, ages, genders = self.data
        order = run.order.rest_of_epoch(self.enable_shuffle, run.epoch)
        batches = pipeline.distributed_batches(
            model.strategy, faces, ages, genders, order, model.size_batch
        )
        if not run.order.done:
            run.totals.clear()
        title = f'Epoch {run.epoch + 1}/{self.num_epochs}'
        self._bar = Progress(batches, title, self._count, initial=run.order.done, unit='batch')
        self._fetched = time.monotonic()
        with self._bar as bar:
            for image, age, gender in bar:
                with tf.device('CPU:0'):  # else it would wait for the GPU's last step
                    self._rate = float(self.schedule(np.int64(run.step)))
                for optimizer in model.optimizers:
                    optimizer.learning_rate = self._rate
                z_prior = run.order.z_prior(model.num_z_channels)
                batch = image, age, gender, devices.share(model.strategy, z_prior)
                loss, outputs = model.train_step(*batch, with_outputs=True)
                self._end_step(loss, {**outputs, 'z_prior': z_prior})

    def _end_step(self, losses, outputs):
        """Count a step; save or stop if it is time to, unless it was the epoch's last."""
        self._run.step += 1
        self._run.order.done += 1
        # TensorFlow caches a tensor per Python number; NumPy scalars avoid the leak.
        point = np.int64(self._run.step), losses, outputs, np.float32(self._rate)
        self._pending.append(point)
        is_last = self._run.order.done == self._count  # then the epoch is ended first
        if is_last or time.monotonic() - self._fetched > FETCH_EVERY:
            self._fetch()
        if not is_last:
            self._save_or_stop()

    def _end_epoch(self):
        """Count an epoch; report its mean losses and show the samples; save or stop if due."""
        run, model = self._run, self.model
        mean = {name: value / run.order.done for name, value in run.totals.items()}
        speed = model.size_batch / mean.pop('seconds')
        text = f'{SHOWN.format(**mean)} on average, {speed:.1f} faces/s'
        savedir.say_and_log(f'Epoch {run.epoch + 1}/{self.num_epochs}: {text}')
        run.epoch += 1
        run.order.done = 0
        if model.is_chief:
            self._show_samples()
            row = {
                'epoch': run.epoch,
                'step': run.step,
                **{name: f'{mean[name]:.6f}' for name in LOSSES},
                RATE: f'{self._rate:.6g}',  # of the last step
                'seconds': f'{run.totals["seconds"]:.1f}',
                'faces_per_second': f'{speed:.2f}',
            }
            savedir.add_to_history(model.save_dir, row)
        self._save_or_stop(run.epoch % SAVE_EVERY == 0 or run.epoch == self.num_epochs)

    def _fetch(self):
        """Wait for the losses of all steps; write their points, sum them up, show the last."""
        if not self._pending:
            return
        for step, losses, outputs, rate in self._pending:
            values = {name: float(value) for name, value in losses.items()}
            ops.require_finite(values, f'at step {step}', self._run.kept)
            if step % self.model.summary_steps == 0:
                with self._summary_only():
                    self._write_point(step, losses, outputs, rate)
            self._run.totals.update(values)
        self._pending.clear()
        run = self._run
        now = time.monotonic()
        run.totals['seconds'] += now - self._fetched
        self._fetched = now
        left = (self.num_epochs - run.epoch) * self._count - run.order.done  # batches
        left = Progress.format_interval(left * run.totals['seconds'] / run.order.done)
        self._bar.set_postfix_str(f'{left} left in all, {SHOWN.format(**values)}')

    def _show_samples(self):
        """Write the samples' reconstructions, and the first ones at all ages."""
        images, ages, genders = self._samples
        name, columns = f'{self._run.epoch:02d}.png', int(np.sqrt(len(images)))
        step, model = np.int64(self._run.step), self.model
        with savedir.side_file(os.path.join(model.save_dir, 'samples', name)):
            picture = model.sample(images, ages, genders, name)
            tf.summary.image('samples', picture[None], step)
        with savedir.side_file(os.path.join(model.save_dir, 'test', name)):
            picture = model.test(images[:columns], genders[:columns], name)
            tf.summary.image('test', picture[None], step)
        self._flush()

    def _save_or_stop(self, is_due=False):
        """Save a checkpoint if it is due; if a signal was received, save one and raise Stopped."""
        model, step = self.model, self._run.step
        is_due = is_due or step % (model.checkpoint_steps or math.inf) == 0
        if is_due:
            self._save()
        if devices.on_any_worker(model.strategy, self._received):
            if not is_due:
                self._save()
            devices.meet_workers(model.strategy, step)  # after the chief has saved
            number = signal.Signals((self._received or [signal.SIGTERM])[0])  # or another worker's
            path = f'{model.save_dir}/{savedir.CHECKPOINT}/model-{step}'
            raise Stopped(
                number, f'Stopped by {number.name} after step {step}, which is saved: {path}.'
            )

    def _save(self):
        self._fetch()
        if self.model.is_chief:
            self._flush()  # so that the summary lacks no step of a checkpoint
            self.model.save_checkpoint()
        self._fetched = time.monotonic()  # the time of a checkpoint is no step's

    def _summary_only(self):
        return savedir.side_file(os.path.join(self.model.save_dir, savedir.SUMMARY))

    def _flush(self):
        with self._summary_only():
            tf.summary.flush()


def graph_of(model) -> tf.Graph:
    """Return the graph of a FaceAging's `forward`: E, G, D_z and D_img, for TensorBoard."""
    inputs = (*model.D_img.inputs, *model.D_z.inputs)  # image, age, gender; z_prior
    forward = tf.function(model.forward, autograph=False)
    return forward.get_concrete_function(*(tf.TensorSpec(x.shape) for x in inputs)).graph


def write_point(step: int, losses: dict, outputs: dict, learning_rate: float) -> None:
    """Write a point of TensorBoard's curves: `losses`, and histograms of `outputs`."""
    for name, value in {**losses, RATE: learning_rate}.items():
        if name != 'tv_loss':  # the original shows it nowhere
            tf.summary.scalar(name, value, step)
    for name, value in outputs.items():
        tf.summary.histogram(name, value, step)
