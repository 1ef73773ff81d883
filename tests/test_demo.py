"""The programs around the model: the README's pictures, and made-up faces."""

import functools
import io
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from data import console, labels, pipeline, readers
from demo import blend, pictures
from demo.method import draw_method
from face_aging import FaceAging
from tests import draw_faces
from tests.conftest import TINY
from tests.test_main import ROOT

COLOURS = {1: (200, 0, 0), 2: (0, 200, 0), 3: (0, 0, 200)}  # of the grids of these epochs


def write_summary(folder, losses, first=1, epoch_steps=4):
    """Write a summary as a training does: `losses` from step `first` on; return its file."""
    before = set(folder.glob('*'))
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step, loss in enumerate(losses, first):
            tf.summary.scalar('EG_loss', loss, step)
            if (step - first + 1) % epoch_steps == 0:
                tf.summary.image('samples', np.zeros([1, 2, 2, 3], np.uint8), step)
    writer.close()
    (file,) = set(folder.glob('*')) - before
    return file


@pytest.fixture
def run(tmp_path):
    """The folder of a made-up training of three epochs, of four batches each."""
    for name in ('samples', 'test'):
        (tmp_path / 'run' / name).mkdir(parents=True)
        for epoch, colour in COLOURS.items():
            Image.new('RGB', (60, 40), colour).save(tmp_path / f'run/{name}/{epoch:02d}.png')
    Image.new('RGB', (60, 40)).save(tmp_path / 'run/test/input.png')
    write_summary(tmp_path / 'run/summary', np.linspace(0.4, 0.2, 12))
    return tmp_path / 'run'


def error_of(main, *words):
    """Return the sentence with which a program ends."""
    with pytest.raises(SystemExit) as exit:
        main([str(word) for word in words])
    assert isinstance(exit.value.code, str)  # then the status is 1
    sentence = exit.value.code.strip()
    assert re.fullmatch(r'[^\n]+[^.\n]\.', sentence)
    return sentence


# --------------------------------------------------------------------------------- grids


def test_grids_are_those_of_epochs_by_number(tmp_path):
    for name in ('100.png', '99.png', '02.png', 'input.png', '7.png', '101.jpg', 'a03.png'):
        (tmp_path / name).touch()
    assert pictures.find_grids(str(tmp_path)) == {
        epoch: str(tmp_path / f'{epoch:02d}.png') for epoch in (2, 99, 100)
    }
    assert list(pictures.find_grids(str(tmp_path))) == [2, 99, 100]


def frames_of(gif):
    """Return the frames of an animation, RGB arrays, and how long each is shown, in ms."""
    with Image.open(io.BytesIO(gif)) as image:
        frames, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert('RGB')).astype(int))
            durations.append(image.info['duration'])
    return frames, durations


def test_gif_shows_every_epoch_and_rests_on_the_last(run):
    samples, tests = (pictures.find_grids(str(run / name)) for name in ('samples', 'test'))
    Image.new('RGB', (60, 80), 'white').save(run / 'samples/04.png')  # of which there is no test
    Image.new('RGB', (60, 80), 'blue').save(samples[3])
    frames, durations = frames_of(pictures.make_gif(pictures.film(samples, tests, 32)))
    assert durations == [300, 300, 3000]
    for frame, colour in zip(frames, COLOURS.values(), strict=True):
        assert frame.shape[1] == 60 and frame.shape[0] > 32 + 4 + 40
        np.testing.assert_allclose(frame[36:74], np.broadcast_to(colour, (38, 60, 3)), atol=8)
    np.testing.assert_allclose(frames[2][:31], np.broadcast_to((0, 0, 255), (31, 60, 3)), atol=8)
    numbers = [frame[78:] for frame in frames]
    for one, other in itertools.combinations(numbers, 2):
        assert np.abs(one - other).max() > 100


@pytest.mark.parametrize('epochs', [1, 6])
def test_gif_is_scaled_down_until_it_is_small_enough(epochs):
    random = np.random.default_rng(0)
    grids = {  # noise, which hardly compresses
        epoch: Image.fromarray(random.integers(0, 256, [300, 200, 3], np.uint8))
        for epoch in range(1, epochs + 1)
    }
    limit = 20_000 * epochs
    assert len(pictures.make_gif(grids)) > limit
    gif = pictures.make_gif(grids, limit)
    assert 0.3 * limit < len(gif) < limit
    frames, _ = frames_of(gif)
    assert len(frames) == epochs


# ---------------------------------------------------------------------------------- loss


def test_the_last_written_loss_of_a_step_counts(tmp_path):
    old = write_summary(tmp_path, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    new = write_summary(tmp_path, [0.3, 0.2, 0.1, 0.0], first=5)
    # Files are read by name; the second one comes first.
    old.rename(tmp_path / 'b.tfevents.2')
    new.rename(tmp_path / 'a.tfevents.1')
    steps, losses, epoch_steps = pictures.read_losses(str(tmp_path))
    np.testing.assert_array_equal(steps, np.arange(1, 9))
    np.testing.assert_allclose(losses, [0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 0.0], rtol=1e-6)
    assert epoch_steps == 4


def test_steps_in_an_epoch_of_a_run_that_started_from_a_trained_model(tmp_path):
    write_summary(tmp_path, np.zeros(7), first=101, epoch_steps=3)
    assert pictures.read_losses(str(tmp_path))[2] == 3


def test_low_pass_filter():
    wave = np.cos(np.linspace(0, 6 * np.pi, 601))  # a period is 200 values
    np.testing.assert_allclose(pictures.low_pass(np.full(100, 0.3), 20), 0.3, rtol=1e-6)
    alternating = (-1.0) ** np.arange(101)
    assert np.abs(pictures.low_pass(alternating, 20)).max() < 0.01  # up to the ends
    np.testing.assert_allclose(pictures.low_pass(wave, 20), wave, atol=0.01)  # nor is it delayed


@pytest.mark.parametrize('count', [1, 2, 3, 10])
@pytest.mark.parametrize('period', [0.5, 2, 5, 1000])
def test_low_pass_filter_of_short_runs(count, period):
    np.testing.assert_allclose(pictures.low_pass(np.full(count, 0.3), period), [0.3] * count)


def test_curve_is_drawn_by_epoch_beside_the_published_one():
    steps, losses = np.arange(1, 41), np.linspace(0.4, 0.2, 40) + 0.05 * (-1) ** np.arange(40)
    (axes,) = pictures.draw_losses(steps, losses, 10.0).axes
    batches, smooth, published = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(batches, np.stack([steps / 10, losses], axis=1))
    np.testing.assert_allclose(smooth[:, 0], steps / 10)
    assert np.abs(np.diff(smooth[5:-5, 1])).max() < 0.05 < np.abs(np.diff(losses)).min()
    expected = [(0, 0.4), (1, 0.225), (2, 0.185), (3, 0.16), (4, 0.145)]
    expected += [(10, 0.12), (20, 0.105), (30, 0.09), (40, 0.083), (50, 0.075)]
    np.testing.assert_array_equal(published, expected)


# -------------------------------------------------------------------------------- method


def test_method_tells_the_models_sizes_and_losses_legibly(tiny):
    model = tiny(size_image=128, num_z_channels=40, num_gen_channels=64, is_training=False)
    figure = draw_method(model)
    texts = figure.axes[0].texts
    said = [text.get_text() for text in texts if text.get_text()]
    sizes = '64 64 8, 4 4 128, 4 4 64, 128 128 1, 64 64 36, 8 8 128, 128 128 3'
    assert {size.replace(' ', ' \N{MULTIPLICATION SIGN} ') for size in sizes.split(', ')} <= {*said}
    assert {'z   40', 'age   10 → 40', 'gender   2 → 40', 'labels   20', '1024'} <= {*said}
    assert {'E', 'G', 'D_z', 'D_img', 'EG_loss', 'tv_loss', 'E_z_loss', 'D_z_loss_z'} <= {*said}
    assert {'D_z_loss_prior', 'G_img_loss', 'D_img_loss_G', 'D_img_loss_input'} <= {*said}
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    for box in boxes:
        assert figure.bbox.x0 < box.x0 and box.x1 < figure.bbox.x1
        assert figure.bbox.y0 < box.y0 and box.y1 < figure.bbox.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


# ------------------------------------------------------------------------------ pictures


@pytest.fixture
def tiny_programs(monkeypatch):
    """The programs with a tiny model behind them."""
    for program in (pictures, blend):
        monkeypatch.setattr(program, 'FaceAging', functools.partial(FaceAging, **TINY))


def test_pictures_of_a_run(run, tmp_path, tiny_programs):
    pictures.main([str(run), '--out', str(tmp_path / 'new/out')])
    names = 'demo_train.gif loss_epoch.png method.png sample.png test.png'
    assert sorted(path.name for path in (tmp_path / 'new/out').iterdir()) == names.split()
    for name in ('sample', 'test'):
        with Image.open(tmp_path / f'new/out/{name}.png') as image:
            assert image.size == (60, 40)
            assert (np.asarray(image) == COLOURS[3]).all()
    for name, width in (('loss_epoch', 1200), ('method', 1600)):
        with Image.open(tmp_path / f'new/out/{name}.png') as image:
            assert image.width == width
            assert len(image.convert('RGB').getcolors(1 << 20)) > 10  # it is not empty


@pytest.mark.parametrize(
    ('missing', 'message'),
    [
        ('', r'There is no folder .*run: name'),
        ('samples', r'no picture of an epoch.* in .*run/samples: train'),
        ('test', r'no picture of an epoch.* in .*run/test: train'),
        ('summary', r'no summary of a whole epoch in .*run/summary: train'),
    ],
)
def test_a_run_that_lacks_something(run, tmp_path, tiny_programs, missing, message):
    (run / missing).rename(tmp_path / 'elsewhere')
    (tmp_path / 'sample.png').write_text('old')
    assert re.search(message, error_of(pictures.main, run, '--out', tmp_path))
    assert (tmp_path / 'sample.png').read_text() == 'old'
    assert not (tmp_path / 'test.png').exists()


def test_a_run_within_its_first_epoch(run, tiny_programs, tmp_path):
    for file in (run / 'summary').iterdir():
        file.unlink()
    write_summary(run / 'summary', np.zeros(3))
    assert 'no summary of a whole epoch' in error_of(pictures.main, run, '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['samples/02.png', 'test/03.png'])
def test_a_damaged_grid(run, tiny_programs, tmp_path, name):
    path = run / name
    path.write_bytes(path.read_bytes()[:60])
    message = error_of(pictures.main, run, '--out', tmp_path / 'out')
    assert re.match(rf'.*{name} cannot be read \(.*\): remove it', message)
    assert not (tmp_path / 'out').exists()


def test_the_program_ends_with_one_sentence_and_status_1(tmp_path):
    ended = subprocess.run(
        [sys.executable, '-m', 'demo.pictures', tmp_path / 'nowhere'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert 'Traceback' not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f'\tThere is no folder {tmp_path}/nowhere: ')


# --------------------------------------------------------------------------------- blend


def test_the_people_of_a_face_share_its_age_group_and_gender():
    random = np.random.default_rng(0)
    groups, genders = random.integers(0, 10, 2000), random.integers(0, 2, 2000)
    wanted = [(i % 10, i // 10 % 2) for i in range(200)]
    people, shares = blend.choose_people(groups, genders, wanted, random)
    for (group, gender), who, share in zip(wanted, people, shares, strict=True):
        assert set(groups[who]) == {group} and set(genders[who]) == {gender}
        assert len(set(who)) == len(who) == len(share)
        assert share.sum() == pytest.approx(1)
        assert share.max() <= 2 * share.min()  # nobody prevails
    assert {len(who) for who in people} == {2, 3, 4}
    assert len({tuple(who) for who in people}) == len(people)


def test_a_blend_takes_two_people():
    groups, genders = np.array([0, 0, 3, 3]), np.array([0, 0, 1, 0])
    random = np.random.default_rng(0)
    people, _ = blend.choose_people(groups, genders, [(0, 0)], random)
    assert sorted(people[0]) == [0, 1]
    with pytest.raises(
        console.InputError, match=r'there are 1 female ones of 16 to 20 years: take'
    ):
        blend.choose_people(groups, genders, [(0, 0), (3, 1)], random)
    with pytest.raises(console.InputError, match=r'there are 0 male ones of 71 to 90 years: take'):
        blend.choose_people(groups, genders, [(9, 0)], random)


def test_a_blend_is_the_weighted_mean_of_codes():
    codes = np.array([[0.5, -1], [0.1, 0], [0.9, 1]])
    blends = blend.blend(codes, [[0, 1], [2, 0]], [np.array([0.75, 0.25]), np.array([0.5, 0.5])])
    assert blends.dtype == np.float32
    np.testing.assert_allclose(blends, [[0.4, -0.75], [0.7, 0]], rtol=1e-6)


class Painter:
    """Stands in for a trained model: its codes are the image's means, its faces the inputs."""

    size_image, num_input_channels, num_categories = 8, 3, 10

    def E(self, images):
        return tf.reduce_mean(images, [1, 2])

    def G(self, inputs):
        z, age, gender = (np.asarray(x) for x in inputs)
        values = [z[:, 0], age.argmax(1) / 9 * 2 - 1, gender.argmax(1) * 2 - 1]
        return tf.constant(np.tile(np.stack(values, 1)[:, None, None], [1, 8, 8, 1]))


def test_each_face_is_of_its_own_people_and_labels(tmp_path, monkeypatch):
    paths, groups, genders = [], [], []
    for i in range(120):
        paths.append(str(tmp_path / f'{i}.png'))
        groups.append(i % 3)
        genders.append(i // 3 % 2)
        # A grey of its own; black and white, so that stretching the contrast changes nothing.
        pixels = np.full([8, 8, 3], 40 + groups[-1] * 60 + genders[-1] * 30, np.uint8)
        pixels[0], pixels[1] = 0, 255
        Image.fromarray(pixels).save(paths[-1])
    decoded = []
    decode = pipeline.decode_faces
    monkeypatch.setattr(
        pipeline,
        'decode_faces',
        lambda paths, *args, **kw: decoded.extend(paths) or decode(paths, *args, **kw),
    )
    monkeypatch.setattr('demo.blend.SIZE_BATCH', 4)
    wanted = [(2, 0), (0, 1), (1, 1), (0, 0), (2, 1), (1, 0), (2, 0)]
    data_set = paths, np.array(groups), np.array(genders)
    faces = blend.make_faces(Painter(), data_set, wanted, np.random.default_rng(0))
    assert faces.shape == (7, 8, 8, 3) and faces.dtype == np.uint8
    assert 14 <= len(decoded) <= 28 and len(set(decoded)) == len(decoded)
    np.testing.assert_array_equal(faces[:, 0, 0, 1], [round(g / 9 * 255) for g, _ in wanted])
    np.testing.assert_array_equal(faces[:, 0, 0, 2], [255 * gender for _, gender in wanted])
    own = {label: face[0, 0, 0] for label, face in zip(wanted, faces, strict=True)}
    assert sorted(own, key=own.get) == sorted(own, key=lambda label: label[0] * 2 + label[1])


def test_names_tell_the_labels_and_only_own_files_are_replaced(tmp_path):
    for name in ('3_0_madeup007.jpg', '30_1_madeup299.jpg', '3_0_drawn000.jpg', 'me.jpg'):
        (tmp_path / name).touch()
    wanted = [(i % 10, i // 10 % 2) for i in range(60)]
    faces = np.zeros([60, 8, 8, 3], np.uint8)
    faces[:, :, :, 0] = np.arange(60)[:, None, None] * 4
    blend.write_faces(str(tmp_path), faces, wanted, np.random.default_rng(0))
    (tmp_path / '3_0_drawn000.jpg').unlink()
    (tmp_path / 'me.jpg').unlink()
    paths, groups, genders = labels.list_faces(str(tmp_path))
    assert len(paths) == 60
    for path, group, gender in zip(paths, groups, genders, strict=True):
        number = int(re.search(r'madeup(\d+)', path)[1])
        assert (group, gender) == wanted[number]
        with Image.open(path) as image:
            assert abs(image.getpixel((4, 4))[0] - 4 * number) < 6


def test_ages_are_of_the_whole_group(tmp_path):
    groups = [(group, 0) for group in (0, 1, 9) for _ in range(200)]
    faces = np.zeros([600, 2, 2, 3], np.uint8)
    blend.write_faces(str(tmp_path), faces, groups, np.random.default_rng(0))
    ages = {readers.parse_name(path)[0] for path in tmp_path.iterdir()}
    assert ages == {*range(11), *range(71, 91)}


@pytest.fixture
def trained(tiny, tmp_path):
    """tmp_path/save with a checkpoint, and tmp_path/people, two of each age group and gender."""
    tiny().save_checkpoint()
    draw_faces.draw_data_set(tmp_path / 'people', 40)
    return [tmp_path / 'save', '--datadir', tmp_path, '--dataset', 'people']


def test_made_up_faces(trained, tmp_path, tiny_programs):
    def run(*words):
        words = [*trained, '--out_faces', tmp_path / 'faces', '--out_set', tmp_path / 'set', *words]
        blend.main([str(word) for word in words])
        return {
            path.name: path.read_bytes()
            for folder in ('faces', 'set')
            for path in (tmp_path / folder).iterdir()
        }

    first, other, again = run(), run('--seed', '1'), run('--seed', '2017')
    assert first == again and first != other
    _, groups, genders = labels.list_faces(str(tmp_path / 'set'))
    counts = np.zeros([10, 2])
    np.add.at(counts, (groups, genders), 1)
    assert (counts == 15).all()
    _, groups, genders = labels.list_faces(str(tmp_path / 'faces'))
    assert sorted(groups) == list(range(10)) and sorted(genders) == [0] * 5 + [1] * 5
    assert sum(map(len, first.values())) < 3_000_000
    for path in (tmp_path / 'set').iterdir():
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((32, 32), 'RGB', 'JPEG')


@pytest.mark.parametrize('what', ['model', 'people'])
def test_blending_without(trained, tmp_path, tiny_programs, what):
    folder = {'model': 'save', 'people': 'people'}[what]
    (tmp_path / folder).rename(tmp_path / 'elsewhere')
    old = tmp_path / 'set/3_0_madeup000.jpg'
    old.parent.mkdir()
    old.touch()
    words = '--out_faces', tmp_path / 'faces', '--out_set', tmp_path / 'set'
    message = error_of(blend.main, *trained, *words)
    sentences = {'model': 'There is no trained model in', 'people': 'There is no folder'}
    assert message.startswith(sentences[what])
    assert old.exists() and not (tmp_path / 'faces').exists()
