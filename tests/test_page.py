"""The page, in a real browser: Debian's Chromium, driven by Playwright."""

import base64
import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

import ops
from data import console, labels
from demo import likeness, portraits
from demo.page import layout
from demo.portraits import Portrait
from face_aging import INIT_MODEL, FaceAging
from tests.test_main import ROOT

MADE_UP = ROOT / 'demo' / 'faces'
MAN, WOMAN = MADE_UP / '23_0_madeup004.jpg', MADE_UP / '19_1_madeup003.jpg'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
SWITCHES = [
    '--no-sandbox',  # which a container lacks
    '--disable-background-networking',
]


@pytest.fixture(scope='module')
def browser():
    if CHROMIUM is None:
        say = pytest.fail if os.environ.get('CI') else pytest.skip
        say('There is no Chromium here: apt-get install chromium.')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def model():
    model = FaceAging(is_training=False)
    model.load_checkpoint(INIT_MODEL)
    return model


@pytest.fixture(scope='module')
def served(model, tmp_path_factory):
    """The page, and the folder in which Gradio would keep files."""
    folder = tmp_path_factory.mktemp('gradio')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GRADIO_TEMP_DIR', str(folder))
        page = layout.build(likeness.open_aging(model))
        layout.serve(page, free_port())
        yield page, folder
        page.close(verbose=False)


def free_port():
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as server:
        return server.getsockname()[1]


@pytest.fixture
def visit(browser, served):
    """A function that opens the page in a browser of its own; it may ask no other host."""
    contexts, asked, faults = [], [], []

    def open_page(**settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        context.on('request', lambda request: asked.append(request.url))
        context.on('weberror', lambda error: faults.append(str(error.error)))
        page = context.new_page()
        page.goto(served[0].local_url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = (served[0].local_url, 'data:', 'blob:')
    assert asked and [url for url in asked if not url.startswith(own)] == []
    assert faults == []


@pytest.fixture
def two_faces(tmp_path):
    """A photo of two people, the man small."""
    with Image.open(MAN) as small, Image.open(WOMAN) as large:
        photo = Image.new('RGB', (700, 500), (90, 120, 90))
        photo.paste(small.resize((150, 150)), (20, 30))
        photo.paste(large.resize((300, 300)), (350, 150))
    photo.save(tmp_path / 'two.png')
    return tmp_path / 'two.png'


def give(page, path, box='#photo'):
    page.locator(f'{box} input[type=file]').set_input_files(path)


def example(page, path, box='#photo'):
    number = layout.EXAMPLES.index(path)
    page.locator(f'{box} [data-example="{number}"]').click()
    page.locator(f'{box} .photo').wait_for()


def result(page, name):
    """Wait for a picture that would be saved as `name`; return its file, bytes."""
    return file_of(page.locator(f'figure:has([download="{name}"]) img'))


def shown(page, caption):
    """Wait for a picture with a caption; return its file, bytes."""
    return file_of(page.get_by_alt_text(caption, exact=True))


def file_of(picture):
    picture.wait_for(state='attached')
    return base64.b64decode(picture.get_attribute('src').split(',')[1])


def set_slider(page, label, value):
    number = page.get_by_label(f'number input for {label}')
    number.fill(str(value))
    number.press('Enter')


def address(data):
    return 'data:image/png;base64,' + base64.b64encode(data).decode()


def saved(page, name):
    """Click the button that saves a picture under a name; return the file's bytes."""
    with page.expect_download() as download:
        page.get_by_role('button', name=f'Save {name}').click()
    assert download.value.suggested_filename == name
    return pathlib.Path(download.value.path()).read_bytes()


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture).astype(int)


def who(page):
    """Return the path of the person whose face is shown: of the two the nearer one."""
    face = pixels(shown(page, 'The photo'))

    def distance(path):
        return np.abs(face - ops.load_image(path, 128, (0, 255))).mean()

    return min((MAN, WOMAN), key=distance)


def test_a_face_of_two_at_another_age_saved(visit, two_faces, model):
    page = visit()
    give(page, two_faces)
    expect(page.locator('#photo .frame')).to_have_count(2)
    large, small = page.locator('#photo .frame').all()
    assert who(page) == WOMAN
    first = address(shown(page, 'The photo'))
    expect(large).to_have_attribute('aria-pressed', 'true')
    small.click()
    expect(page.locator('#photo .frame').nth(1)).to_have_attribute('aria-pressed', 'true')
    expect(page.get_by_alt_text('The photo')).not_to_have_attribute('src', first)
    page.get_by_label('female', exact=True).check()
    at_65 = result(page, 'age_65_female.png')
    assert who(page) == MAN
    set_slider(page, 'Age in years', 5)
    at_5 = result(page, 'age_5_female.png')
    assert np.abs(pixels(at_5) - pixels(at_65)).mean() > 2
    assert saved(page, 'age_5_female.png') == at_5
    page.get_by_role('button', name='Whole photo').click()
    whole = saved(page, 'photo_5_female.png')
    changed = (pixels(whole) != pixels(two_faces.read_bytes())).any(axis=-1)
    assert changed[60:150, 50:140].mean() > 0.9  # his face
    changed[:200, :200] = False  # and its surroundings
    assert not changed.any()


def test_the_face_follows_age_shift_and_likeness(visit, model):
    """With both at 0 it is the paper's."""
    page = visit()
    example(page, MAN)
    faces = [result(page, 'age_65_male.png')]
    portrait = portraits.portray(likeness.AgingMethod(model, None, 0, 0), portraits.open_photo(MAN))
    z = portrait.people.z
    for label in ('Age shift', 'Likeness'):
        set_slider(page, label, 0)
        expect(page.locator('#picture img').nth(1)).not_to_have_attribute('src', address(faces[-1]))
        faces.append(result(page, 'age_65_male.png'))

    def expected(age):
        face = model.generate(z, age, labels.one_hot([0], 2))
        return ops.image_grid(portraits.with_levels(face, portrait.levels))

    np.testing.assert_allclose(pixels(faces[-1]), expected(labels.age_label([65])), atol=2)
    strip = pixels(shown(page, 'All ages, as male, age shift 0, likeness 0'))[-128:]
    np.testing.assert_allclose(strip[:, 128:256], expected(labels.one_hot([0], 10)), atol=2)


def test_without_statistics_there_is_no_age_shift(model):
    page = layout.build(likeness.AgingMethod(model, None, 0, 1))
    (slider,) = (b for b in page.blocks.values() if getattr(b, 'label', None) == 'Age shift')
    assert (slider.interactive, slider.value) == (False, 0)
    assert 'python -m init_model.codes' in slider.info


def test_strip_and_animation_are_saved(visit):
    page = visit()
    example(page, MAN)
    strip = result(page, 'ages_male.png')
    assert saved(page, 'ages_male.png') == strip
    assert pixels(strip).shape[1] == 11 * 128
    page.get_by_role('button', name='Animation').click()
    with Image.open(io.BytesIO(saved(page, 'ages_male.gif'))) as picture:
        assert picture.n_frames == 52


def test_files_that_cannot_be_used(visit, tmp_path):
    page = visit()
    (tmp_path / 'me.jpg').write_text('no picture')
    (tmp_path / 'iphone.jpg').write_bytes(b'\0\0\0\x18ftypheic' + b'\0' * 99)
    Image.new('L', (12000, 9000)).save(tmp_path / 'large.jpg')
    Image.new('RGB', (300, 200), (90, 120, 90)).save(tmp_path / 'wall.png')
    example(page, MAN)
    result(page, 'age_65_male.png')
    for name, said in (
        ('me.jpg', 'cannot be read as a picture (no picture of a known format): take a JPEG'),
        ('iphone.jpg', 'and export the HEIC photo of an iPhone as JPEG.'),
        ('large.jpg', 'than 65,535 on a side): take a smaller one.'),
        ('wall.png', 'No face is found in this picture: take a photo'),
    ):
        give(page, tmp_path / name)
        expect(page.locator('#photo .value [role=alert]')).to_contain_text(said)
        expect(page.locator('#picture')).to_have_text('No photo yet.')


def test_users_do_not_see_each_other(visit):
    first, second = visit(), visit()
    example(first, MAN)
    example(second, WOMAN)
    set_slider(first, 'Age in years', 20)
    set_slider(second, 'Age in years', 70)
    result(first, 'age_20_male.png'), result(second, 'age_70_female.png')
    assert (who(first), who(second)) == (MAN, WOMAN)


def test_a_photo_is_in_no_file_and_gone_with_its_page(visit, two_faces, served):
    page, (blocks, folder) = visit(), served
    known = set(blocks.state_holder.session_data)
    give(page, two_faces)
    result(page, 'ages_female.png')
    (name,) = set(blocks.state_holder.session_data) - known
    held = blocks.state_holder.session_data[name].state_data.values()
    (portrait,) = (value for value in held if isinstance(value, Portrait))
    gone = threading.Event()
    weakref.finalize(portrait.photo.pixels, gone.set)
    del portrait, held
    assert [*folder.rglob('*')] == [] and not gone.is_set()
    page.context.close()
    assert gone.wait(60)
    assert name not in blocks.state_holder.session_data


def test_two_people(visit):
    page = visit()
    page.get_by_role('tab', name='Two people').click()
    page.get_by_role('button', name='Turn one').click()
    expect(page.locator('#result')).to_contain_text('Choose a photo of each')
    example(page, MAN, '#first')
    example(page, WOMAN, '#second')
    page.get_by_role('button', name='Turn one').click()
    strip = result(page, 'morph.png')
    assert pixels(strip).shape[1] == 11 * 128
    assert saved(page, 'morph.png') == strip
    with Image.open(io.BytesIO(saved(page, 'morph.gif'))) as picture:
        assert picture.n_frames == 48
    page.get_by_role('button', name='Make children').click()
    first = result(page, 'kids.png')
    assert pixels(first).shape[1] == 7 * 128
    page.get_by_role('button', name='Make children').click()
    expect(page.locator('#result img')).not_to_have_attribute('src', address(first))


@pytest.mark.parametrize('colours', ['light', 'dark'])
def test_a_phone(visit, colours):
    """Nothing is wider than the screen, and all is readable."""
    page = visit(viewport={'width': 400, 'height': 800}, color_scheme=colours)
    example(page, MAN)
    result(page, 'ages_male.png')
    assert page.evaluate('document.scrollingElement.scrollWidth') == 400
    shade = re.findall(r'\d+', page.evaluate('getComputedStyle(document.body).backgroundColor'))
    assert (int(shade[0]) < 128) == (colours == 'dark')


def test_a_port_that_is_taken(model):
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(console.InputError, match=f'Port {port} cannot be used .* --port 7861'):
            layout.serve(layout.build(likeness.AgingMethod(model, None, 0, 1)), port)


def test_the_program_asks_no_other_host(browser):
    """Its requests would go through a proxy, which counts them and hangs up."""
    calls = []

    def hang_up():
        with contextlib.suppress(OSError):  # the proxy is closed
            while True:
                connection, _ = proxy.accept()
                calls.append(connection)
                connection.close()

    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as proxy:
        threading.Thread(target=hang_up, daemon=True).start()
        own = f'http://127.0.0.1:{proxy.getsockname()[1]}'
        names = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
        process = subprocess.Popen(
            [sys.executable, '-m', 'demo.page', '--port', str(free_port())],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(names, own)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            lines = iter(process.stdout.readline, '')
            url = next(re.search(r'http://127\S+', x)[0] for x in lines if 'Open http' in x)
            with contextlib.closing(browser.new_page()) as page:
                page.goto(url)
                example(page, MAN)
                result(page, 'age_65_male.png')
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and errors.endswith('\n\tStopped.\n')
    assert calls == []
