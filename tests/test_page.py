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

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

import ops
from data import console
from demo import likeness, photos
from demo.page import layout
from demo.page.studio import Shown
from face_aging import INIT_MODEL, FaceAging
from tests.test_main import ROOT

MADE_UP = ROOT / 'demo' / 'faces'
MAN, WOMAN = MADE_UP / '23_0_madeup004.jpg', MADE_UP / '19_1_madeup003.jpg'
expect.set_options(timeout=60_000)  # of a busy machine, ms
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
SWITCHES = '--no-sandbox --disable-background-networking'.split()  # a container has no sandbox


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
    page.locator(f'{box} [data-example="{path.name}"]').click()
    page.locator(f'{box} .photo').wait_for()


def expect_shown(page, title):
    """Wait until the photo is shown with a face at an age; return that face's picture, bytes."""
    expect(page.locator('#photo .year')).to_have_text(title)
    return file_of(page.locator('#photo .after img[src]').last)


def file_of(picture):
    picture.wait_for(state='attached')
    return base64.b64decode(picture.get_attribute('src').split(',')[1])


def set_slider(page, label, value):
    number = page.get_by_label(f'number input for {label}')
    number.fill(str(value))
    number.press('Enter')


def saved(page, button, name):
    """Click a button that saves a file under a name; return the file's bytes."""
    with page.expect_download() as download:
        page.get_by_role('button', name=button).click()
    assert download.value.suggested_filename == name
    return pathlib.Path(download.value.path()).read_bytes()


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture).astype(int)


def who(page):
    """Return the path of the person whose face is shown: of the two the nearer one."""
    face = pixels(file_of(page.get_by_alt_text('The face that the model takes')))

    def distance(path):
        return np.abs(face - ops.load_image(path, 128, (0, 255))).mean()

    return min((MAN, WOMAN), key=distance)


def written(tmp_path, *words):
    """Return what `python -m demo.photos` writes: files' contents by their names."""
    out = tmp_path / 'out'
    photos.main([str(word) for word in (*words, '--out', out)])
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_what_is_saved_is_what_the_program_writes(visit, two_faces, tmp_path):
    page = visit()
    give(page, two_faces)
    expect_shown(page, 'At 65')
    assert who(page) == WOMAN
    page.locator('#photo .frame').nth(1).click()
    expect(page.locator('#photo .frame').nth(1)).to_have_attribute('aria-pressed', 'true')
    page.get_by_label('female', exact=True).check()
    set_slider(page, 'Age in years', 5)
    expect_shown(page, 'At 5')
    assert who(page) == MAN
    whole = saved(page, 'Save picture', 'two_2_at_5.png')
    words = two_faces, '--gender', 'female'
    files = written(tmp_path, *words, '--ages', '5', '--whole_photo', '--video', '--gif')
    assert whole == files['photo_two_2_female_5.png']
    for _ in range(2):
        assert saved(page, 'Save GIF', 'two_2_ages.gif') == files['ages_two_2_female.gif']
    assert saved(page, 'Save video', 'two_2_ages.mp4') == files['video_two_2_female.mp4']
    strip = saved(page, 'Save strip', 'two_2_ages.png')
    np.testing.assert_array_equal(
        pixels(strip), pixels(written(tmp_path, *words)['ages_two_2_female.png'])
    )


def test_before_and_after_and_the_timeline(visit):
    """A tile is laid over the photo and moves the slider; so does playing, up to the last age."""
    page = visit()
    example(page, MAN)
    at_65 = expect_shown(page, 'At 65')
    after = page.locator('#photo .after')
    expect(after).to_have_css('clip-path', 'inset(0px 0px 0px 0%)')
    page.get_by_label('Before and after').fill('40')
    expect(after).to_have_css('clip-path', 'inset(0px 0px 0px 40%)')
    tile = page.locator('#ages .tile', has_text='6-10')
    child = file_of(tile.locator('img'))
    tile.click()
    assert expect_shown(page, '6-10') == child
    assert np.abs(pixels(child) - pixels(at_65)).mean() > 2
    age = page.get_by_label('number input for Age in years')
    expect(age).to_have_value('8')
    page.get_by_label('Play the ages').click()
    expect(page.locator('#ages .tile').last).to_have_attribute('aria-pressed', 'true')
    expect_shown(page, 'over 70')
    expect(age).to_have_value('80')
    expect(page.get_by_label('Play the ages')).to_have_attribute('aria-pressed', 'false')
    set_slider(page, 'Age in years', 8)
    expect_shown(page, 'At 8')


def test_the_strip_follows_the_own_age_and_the_method(visit, tmp_path):
    """The own age is told and can be corrected; with both sliders at 0 it is the paper's method."""

    def expect_strip(*words):
        files = written(tmp_path, MAN, '--gender', 'male', *words)
        strip = saved(page, 'Save strip', '23_0_madeup004_ages.png')
        expected = pixels(files['ages_23_0_madeup004_male.png'])
        np.testing.assert_array_equal(pixels(strip), expected)

    page = visit()
    page.get_by_text('More', exact=True).click()
    example(page, MAN)
    own = page.get_by_label('Own age')
    expect(own).to_have_value('23')
    page.get_by_text("Told by the photo's name.").wait_for()
    expect_shown(page, 'At 65')
    face = page.locator('#photo .after img').last
    guessed = face.get_attribute('src')
    own.fill('60')
    own.press('Enter')
    page.get_by_text('As you told it.').wait_for()
    expect(face).not_to_have_attribute('src', guessed)
    expect_strip('--age', 60)
    for label in ('How much the age shows', 'How much of the photo stays'):
        set_slider(page, label, 0)
    expect_strip('--age_shift', 0, '--likeness', 0)


def test_without_statistics_there_is_no_age_shift(model):
    page = layout.build(likeness.AgingMethod(model, None, 0, 1))
    (slider,) = (
        b for b in page.blocks.values() if getattr(b, 'label', None) == 'How much the age shows'
    )
    assert (slider.interactive, slider.value) == (False, 0)
    assert 'python -m init_model.codes' in slider.info


def test_files_that_cannot_be_used(visit, tmp_path):
    page = visit()
    (tmp_path / 'me.jpg').write_text('no picture')
    (tmp_path / 'iphone.jpg').write_bytes(b'\0\0\0\x18ftypheic' + b'\0' * 99)
    Image.new('L', (12000, 9000)).save(tmp_path / 'large.jpg')
    Image.new('RGB', (300, 200), (90, 120, 90)).save(tmp_path / 'wall.png')
    save = page.get_by_role('button', name='Save picture')
    expect(save).to_be_disabled()
    for name, said in (
        ('me.jpg', 'cannot be read as a picture (no picture of a known format): take a JPEG'),
        ('iphone.jpg', 'and export the HEIC photo of an iPhone as JPEG.'),
        ('large.jpg', 'than 65,535 on a side): take a smaller one.'),
        ('wall.png', 'No face is found in this picture: take a photo'),
    ):
        example(page, MAN)
        expect(save).to_be_enabled()
        give(page, tmp_path / name)
        expect(page.locator('#photo .value [role=alert]')).to_contain_text(said)
        expect(page.locator('#photo .photo, #ages .tile')).to_have_count(0)
        expect(save).to_be_disabled()
    (tmp_path / 'heavy.jpg').write_bytes(bytes(30_000_001))
    give(page, tmp_path / 'heavy.jpg')
    page.get_by_text('This photo has more than 30 MB: choose a smaller one.').wait_for()


def test_users_do_not_see_each_other(visit):
    first, second = visit(), visit()
    example(first, MAN)
    example(second, WOMAN)
    set_slider(first, 'Age in years', 20)
    set_slider(second, 'Age in years', 70)
    expect_shown(first, 'At 20'), expect_shown(second, 'At 70')
    assert (who(first), who(second)) == (MAN, WOMAN)


def test_a_photo_is_in_no_file_and_gone_with_its_page(visit, two_faces, served):
    page, (blocks, folder) = visit(), served
    known = set(blocks.state_holder.session_data)
    give(page, two_faces)
    expect_shown(page, 'At 65')
    page.locator('#ages .tile img').last.wait_for()
    saved(page, 'Save video', 'two_1_ages.mp4')
    (name,) = set(blocks.state_holder.session_data) - known
    held = blocks.state_holder.session_data[name].state_data.values()
    (shown,) = (value for value in held if isinstance(value, Shown))
    gone = threading.Event()
    weakref.finalize(shown.portrait.photo.pixels, gone.set)
    del shown, held
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
    strip = file_of(page.locator('figure:has([download="morph.png"]) img'))
    assert pixels(strip).shape[1] == 11 * 128
    assert saved(page, 'Save morph.png', 'morph.png') == strip
    with Image.open(io.BytesIO(saved(page, 'Save morph.gif', 'morph.gif'))) as picture:
        assert picture.n_frames == 48
    page.get_by_role('button', name='Make children').click()
    children = page.locator('figure:has([download="kids.png"]) img')
    assert pixels(file_of(children)).shape[1] == 7 * 128
    first = children.get_attribute('src')
    page.get_by_role('button', name='Make children').click()
    expect(children).not_to_have_attribute('src', first)


@pytest.mark.parametrize('colours', ['light', 'dark'])
@pytest.mark.parametrize(('width', 'height'), [(1280, 900), (400, 800)])
def test_one_screen(visit, two_faces, width, height, colours):
    """Photo, timeline and age are seen without scrolling, whatever the photo's shape."""
    page = visit(viewport={'width': width, 'height': height}, color_scheme=colours)
    with Image.open(two_faces) as photo:
        photo.crop([300, 0, 700, 500]).save(two_faces)
    for choose, path in ((give, two_faces), (example, MAN)):
        choose(page, path)
        expect_shown(page, 'At 65')
        page.locator('#ages .tile img').last.wait_for(state='attached')
        for part in ('#photo .photo', '#photo .compare', '#ages .timeline', '#age'):
            box = page.locator(part).bounding_box()
            assert box['x'] >= 0 and box['x'] + box['width'] <= width
            assert box['y'] >= 0 and box['y'] + box['height'] <= height
    assert page.evaluate('document.scrollingElement.scrollWidth') == width
    shade = re.findall(r'\d+', page.evaluate('getComputedStyle(document.body).backgroundColor'))
    assert (int(shade[0]) < 128) == (colours == 'dark')


def test_a_port_that_is_taken(model, served):
    port = served[0].server_port
    with pytest.raises(console.InputError, match=f'Port {port} cannot be used .* --port 7861'):
        layout.serve(layout.build(likeness.AgingMethod(model, None, 0, 1)), port)


def test_requests_have_bounds(served):
    """Refused are a photo of more than 30 MB, a file, and a call that passes by the queue."""
    for path, request, status in (
        ('queue/join', {'content': b' ' * (layout.MOST_BYTES + 1)}, 413),
        ('upload', {'files': {'files': b'x'}}, 413),
        ('run/draw', {'json': {'data': []}}, 404),
    ):
        answer = httpx.post(served[0].local_api_url + path, trust_env=False, **request)
        assert answer.status_code == status, path


def test_the_program_under_a_path_asks_no_other_host(browser):
    """Its requests would go to a proxy, which does not answer."""
    port = free_port()
    flags = ['--host', '0.0.0.0', '--root_path', 'faces']
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as proxy:
        proxy.setblocking(False)
        own = f'http://127.0.0.1:{proxy.getsockname()[1]}'
        names = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
        process = subprocess.Popen(
            [sys.executable, '-m', 'demo.page', '--port', str(port), *flags],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(names, own)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            lines = iter(process.stdout.readline, '')
            url = next(re.search(r'http://\S+', x)[0] for x in lines if 'Open http' in x)
            assert url == f'http://localhost:{port}/faces/'
            with contextlib.closing(browser.new_page()) as page:
                page.goto(url)
                example(page, MAN)
                expect_shown(page, 'At 65')
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        with pytest.raises(BlockingIOError):  # nobody called
            proxy.accept()
    assert process.returncode == 130 and errors.endswith('\n\tStopped.\n')
