"""Make the README's pictures from a training run: python -m demo.pictures SAVEDIR."""

import argparse
import glob
import io
import os
import pathlib
import re

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy import signal
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from data import console, files
from demo.method import CRITIC, INK, NET, draw_method
from face_aging import FaceAging
from init_model import checkpoints

# EG_loss of the authors' own training (a smoothed plot) by epoch, read off their repository,
# github.com/ZZUTK/Face-Aging-CAAE, demo/loss_epoch.jpg.
PUBLISHED = {0: 0.40, 1: 0.225, 2: 0.185, 3: 0.16, 4: 0.145}
PUBLISHED |= {10: 0.12, 20: 0.105, 30: 0.09, 40: 0.083, 50: 0.075}
SMOOTHED = 0.25  # epochs: shorter ups and downs of the loss are filtered out
GIF_BYTES = 8_000_000  # more is slow to load in a README
GIF_WIDTH = 480  # pixels, at most
EPOCH_MS, LAST_EPOCH_MS = 300, 3000


# --------------------------------------------------------------------------------- grids


def find_grids(folder):
    """Return {epoch: path} of the grids NN.png of a folder, by epoch.

    Raises:
        InputError: there is none.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = sorted(int(name[:-4]) for name in names if re.fullmatch(r'\d{2,}\.png', name))
    if not epochs:
        raise console.InputError(
            f'There is no picture of an epoch, such as 01.png, in {folder}: train for one epoch at '
            'least, and name the folder that was its --savedir.'
        )
    return {epoch: os.path.join(folder, f'{epoch:02d}.png') for epoch in epochs}


def open_grid(path):
    """Return a picture in RGB.

    Raises:
        InputError: it is damaged.
    """
    try:
        with Image.open(path) as image:
            return image.convert('RGB')
    except Exception as error:  # Pillow's decoders raise almost anything on damaged data
        raise console.InputError(f'{path} cannot be read ({error}): remove it.') from error


def film(samples, tests, size_image):
    """Return {epoch: picture}: a few faces' reconstructions, and below them the same faces aged.

    Args:
        samples, tests: {epoch: path}, as from `find_grids`; epochs that either lacks are left out.
        size_image: S; the first S rows of pixels of a grid of samples are the faces of the tests.

    Raises:
        InputError: a grid is damaged.
    """
    frames = {}
    for epoch in sorted(samples.keys() & tests.keys()):
        faces, aged = open_grid(samples[epoch]), open_grid(tests[epoch])
        gap = size_image // 8
        frame = Image.new('RGB', (aged.width, size_image + gap + aged.height), 'white')
        frame.paste(faces.crop((0, 0, aged.width, size_image)))
        frame.paste(aged, (0, size_image + gap))
        frames[epoch] = frame
    return frames


def make_gif(pictures, limit=GIF_BYTES):
    """Return an animation, in the GIF's bytes: each epoch's picture above its number.

    Args:
        pictures: {epoch: picture}, as from `film`.
        limit: bytes that the animation stays below; it is scaled down until it does.
    """
    newest = pictures[max(pictures)]
    width = min(GIF_WIDTH, newest.width)
    while True:
        height = round(newest.height * width / newest.width)
        frames = [_frame(picture, (width, height), n) for n, picture in pictures.items()]
        durations = [EPOCH_MS] * (len(frames) - 1) + [LAST_EPOCH_MS]
        gif = io.BytesIO()
        frames[0].save(
            gif, 'GIF', save_all=True, append_images=frames[1:], duration=durations, loop=0
        )
        if gif.tell() < limit:
            return gif.getvalue()
        width = int(width * min(0.95, np.sqrt(limit / gif.tell())))


def _frame(picture, size, epoch):
    strip = max(16, size[0] // 16)  # pixels: the number stays legible
    frame = Image.new('RGB', (size[0], size[1] + strip), 'white')
    frame.paste(picture.resize(size, Image.Resampling.LANCZOS))
    font = ImageFont.truetype(font_manager.findfont('DejaVu Sans'), strip * 2 // 3)
    place = strip // 3, size[1] + strip / 2
    ImageDraw.Draw(frame).text(place, f'epoch {epoch}', INK, font, anchor='lm')
    # The colours that fit best, mixed: without either, bright skin falls into patches.
    return frame.quantize(palette=frame.quantize(256, kmeans=1))


def read_size_image(folder):
    """Return the size S of the faces of a training, from its folder of checkpoints."""
    usual = 128
    if not checkpoints.has_checkpoint(folder):
        return usual
    return checkpoints.read_newest(folder).settings.get('size_image', usual)


# ---------------------------------------------------------------------------------- loss


def read_losses(folder):
    """Read a run's EG_loss from its summary; where a step was done twice, the last one counts.

    Returns:
        steps: int array [N], of the batches.
        losses: float array [N], of these batches.
        epoch_steps: steps in an epoch.

    Raises:
        InputError: no summary, or none of a whole epoch.
    """
    summaries = EventAccumulator(folder, size_guidance={'tensors': 0})  # 0 keeps all
    if glob.glob(os.path.join(glob.escape(folder), '*tfevents*')):
        summaries.Reload()
    tags = summaries.Tags()['tensors']
    if not {'EG_loss', 'samples'} <= set(tags):
        raise console.InputError(
            f'There is no summary of a whole epoch in {folder}: train for one epoch at least, and '
            'name the folder that was its --savedir.'
        )
    steps, losses = _last_written(summaries, 'EG_loss')
    ends, _ = _last_written(summaries, 'samples')  # written with the last batch of each epoch
    losses = np.array([float(make_ndarray(loss)) for loss in losses])
    return np.array(steps), losses, float(np.median(np.diff([steps[0] - 1, *ends])))


def _last_written(summaries, tag):
    """Return the steps of a tag, ascending, and what was last written at each."""
    written = sorted(summaries.Tensors(tag), key=lambda event: event.wall_time)
    return zip(*sorted({event.step: event.tensor_proto for event in written}.items()), strict=True)


def low_pass(values, period):
    """Take out of values [N] what goes up and down within fewer than `period` of them.

    A Butterworth filter, run forwards and backwards so that nothing is delayed. At its ends the
    curve is level, not tied to the first and the last value, which are as noisy as all.
    """
    if period <= 2 or len(values) < 2:  # two values a period is the fastest there is
        return np.array(values)
    sections = signal.butter(2, 2 / period, output='sos')
    padding = min(int(period), len(values) - 1)
    return signal.sosfiltfilt(sections, values, padtype='even', padlen=padding)


def draw_losses(steps, losses, epoch_steps):
    """Draw a run's EG_loss, as from `read_losses`, by epoch beside the published curve."""
    figure = Figure([10, 5.6], dpi=120, layout='constrained')
    axes = figure.subplots()
    epochs, smooth = steps / epoch_steps, low_pass(losses, SMOOTHED * epoch_steps)
    axes.plot(epochs, losses, color='#b9cde2', linewidth=0.6, label='each batch')
    axes.plot(epochs, smooth, color=NET, linewidth=2.2, label='low-pass filtered')
    axes.plot(
        *zip(*PUBLISHED.items(), strict=True), 'o--', color=CRITIC, label="the authors' (smoothed)"
    )
    axes.set(xlabel='epoch', ylabel='EG_loss', xlim=(0, epochs[-1] * 1.01))
    axes.set_ylim(0, 1.1 * max(max(PUBLISHED.values()), np.quantile(losses, 0.999)))
    axes.grid(color='#e6e8ea')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    return figure


# ---------------------------------------------------------------------------------- main


def make_pictures(save_dir):
    """Make all pictures of a training run, with a progress bar.

    Returns:
        {name: bytes of the file}.

    Raises:
        InputError: the run lacks what a picture needs.
    """
    if not os.path.isdir(save_dir):
        raise console.InputError(
            f'There is no folder {save_dir}: name the one that was the --savedir of a training.'
        )
    samples, tests = (find_grids(os.path.join(save_dir, name)) for name in ('samples', 'test'))
    summary, checkpoint = (os.path.join(save_dir, name) for name in ('summary', 'checkpoint'))
    makers = {
        'sample.png': lambda: _png(open_grid(samples[max(samples)])),
        'test.png': lambda: _png(open_grid(tests[max(tests)])),
        'demo_train.gif': lambda: make_gif(film(samples, tests, read_size_image(checkpoint))),
        'loss_epoch.png': lambda: _png(draw_losses(*read_losses(summary))),
        'method.png': lambda: _png(draw_method(FaceAging(is_training=False))),
    }
    progress = console.Progress(makers.items(), 'Pictures', unit=' pictures')
    return {name: make() for name, make in progress}


def _png(picture):
    """Return the PNG of a figure, or of a picture."""
    png = io.BytesIO()
    save = picture.savefig if isinstance(picture, Figure) else picture.save
    save(png, format='png')
    return png.getvalue()


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.pictures', description=__doc__)
    parser.add_argument('savedir', type=console.path, help="the training run's --savedir")
    parser.add_argument(
        '--out', type=console.path, default='demo', help='folder of the pictures (%(default)s)'
    )
    arguments = parser.parse_args(argv)
    pictures = make_pictures(arguments.savedir)
    os.makedirs(arguments.out, exist_ok=True)
    for name, content in pictures.items():  # only now, when none can fail any more
        with files.replacing(os.path.join(arguments.out, name)) as aside:
            pathlib.Path(aside).write_bytes(content)
    print(f'Wrote {", ".join(pictures)} to {arguments.out}')


if __name__ == '__main__':
    main()
