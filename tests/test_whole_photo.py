"""Changes of faces in their photos: where they land, and that nothing else changes."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from data import detector, labels, pictures, pipeline
from demo import likeness, whole_photo

SIZE = 128
SMOOTH = np.add.outer(np.arange(SIZE), np.arange(SIZE)) / SIZE * 40 - 40  # levels


def landmarks_at(centre, width, degrees=0):
    """Return the landmarks of a face whose crop has this centre, width and turn in the photo."""
    turn = width * np.exp(1j * np.deg2rad(degrees))
    z = (detector.PLACES @ [1, 1j] - 0.5 - 0.5j) * turn + complex(*centre)
    return np.stack([z.real, z.imag], axis=-1)


def places(shape, landmarks):
    """Return where the pixels of a photo lie in a face's crop, complex, in parts of its width."""
    a, b = detector.similarity(landmarks, detector.PLACES)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return a * (x + 1j * y) + b


@pytest.fixture
def photo():
    return np.random.RandomState(0).randint(60, 190, (300, 400, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ('centre', 'width', 'degrees'),
    [((200, 150), 150, 0), ((200, 150), 90, 25), ((10, 290), 200, -10), ((200, 150), 30, 0)],
)
def test_nothing_changes_outside_of_the_mask(photo, centre, width, degrees):
    landmarks = landmarks_at(centre, width, degrees)
    changed = photo.copy()
    whole_photo.add_change(changed, landmarks, np.full([SIZE, SIZE, 3], 30.0))
    z = places(photo.shape, landmarks) - 0.5 - 0.5j
    outside = np.maximum(abs(z.real), abs(z.imag)) > whole_photo.MASK_EDGE
    assert outside.any()
    np.testing.assert_array_equal(changed[outside], photo[outside])
    core = np.hypot(z.real, z.imag) < whole_photo.MASK_CORE
    np.testing.assert_array_equal(changed[core], photo[core] + 30)


@pytest.mark.parametrize('width', [64, 128, 190])
@pytest.mark.parametrize('degrees', [0, 20])
def test_the_change_lands_where_the_face_is(photo, width, degrees):
    """A change that is linear across the crop is linear across the face in the photo."""
    landmarks = landmarks_at((200, 150), width, degrees)
    changed = photo.copy()
    whole_photo.add_change(changed, landmarks, np.repeat(SMOOTH[..., None], 3, axis=2))
    z = places(photo.shape, landmarks)
    core = np.hypot(z.real - 0.5, z.imag - 0.5) < 0.4
    expected = (z.real + z.imag - 1 - 1 / SIZE) * 40
    found = changed.astype(float) - photo
    error = (found - expected[..., None])[core]
    assert np.abs(error).max() < 1.5 and abs(error.mean()) < 0.05  # half a pixel off: 0.16


def test_a_face_that_is_cut_out_and_put_back_is_the_same(photo):
    """`cut_out` and `add_change` agree on the place: a smooth photo made into another one."""
    y, x = np.mgrid[:300, :400]
    smooth = np.stack([x / 4 + 60, y / 3 + 60, (x + y) / 7 + 70], axis=-1).astype(np.uint8)
    other = (255 - smooth).astype(np.uint8)
    landmarks = landmarks_at((200, 150), 150, 12)
    crops = [detector.cut_out(pixels, landmarks, SIZE).astype(float) for pixels in (smooth, other)]
    changed = smooth.copy()
    whole_photo.add_change(changed, landmarks, crops[1] - crops[0])
    z = places(photo.shape, landmarks)
    core = np.hypot(z.real - 0.5, z.imag - 0.5) < 0.4
    assert np.abs(changed[core].astype(float) - other[core]).max() <= 3


def test_bands_have_no_seams(photo, monkeypatch):
    landmarks, change = landmarks_at((200, 150), 180, 5), np.repeat(SMOOTH[..., None], 3, axis=2)
    whole, banded = photo.copy(), photo.copy()
    whole_photo.add_change(whole, landmarks, change)
    monkeypatch.setattr(whole_photo, 'BAND', 7)
    whole_photo.add_change(banded, landmarks, change)
    np.testing.assert_array_equal(banded, whole)


def test_what_is_cut_out_is_what_the_model_takes(photo):
    landmarks = landmarks_at((200, 150), 150)
    dull = (photo // 2 + 20).astype(np.uint8)
    it = whole_photo.Photo('a.png', dull, landmarks[None], None)
    faces, spans = whole_photo.cut_out(it, SIZE)
    crop = detector.cut_out(dull, landmarks)
    assert spans[0] == int(crop.max()) - int(crop.min())
    assert faces.shape == (1, SIZE, SIZE, 3)
    face = pictures.to_face(Image.fromarray(crop), SIZE)
    np.testing.assert_array_equal(faces[0], pipeline.to_float(face).numpy())
    assert whole_photo.cut_out(it, 32, channels=1)[0].shape == (1, 32, 32, 1)


def test_profiles_stay_if_they_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, 'find_faces', lambda pixels: np.empty([0, 5, 2]))
    profile = b'\0' * 16 + b'RGB ' + b'\0' * 100
    Image.new('RGB', (30, 20)).save(tmp_path / 'rgb.jpg', icc_profile=profile)
    Image.new('L', (30, 20)).save(
        tmp_path / 'grey.jpg', icc_profile=profile.replace(b'RGB', b'GRA')
    )
    photo = whole_photo.open_photo(str(tmp_path / 'rgb.jpg'))
    assert photo.profile == profile
    assert whole_photo.open_photo(str(tmp_path / 'grey.jpg')).profile is None
    whole_photo.save(str(tmp_path / 'out.jpg'), photo.pixels, profile)
    with Image.open(tmp_path / 'out.jpg') as image:
        assert (image.format, image.info['icc_profile']) == ('JPEG', profile)


# ------------------------------------------------------------------------------------- files


@pytest.fixture
def program(vivid, tmp_path, monkeypatch):
    """Write whole photos of a folder, with two faces found at the same places in each."""
    model = vivid()
    people = [landmarks_at((100, 120), 90), landmarks_at((280, 160), 70)]
    monkeypatch.setattr(detector, 'find_faces', lambda pixels: np.array(people))
    method = likeness.AgingMethod(model, None, 0, 1)

    def write(folder, **settings):
        paths = whole_photo.write(model, str(folder), method, ['female'], [5, 65], **settings)
        assert sorted(paths) == sorted(str(path) for path in tmp_path.glob('save/test/*'))
        return {path.rsplit('/', 1)[-1]: np.asarray(Image.open(path)).astype(int) for path in paths}

    folder = tmp_path / 'photos'
    folder.mkdir()
    return model, folder, write, [abs(places((300, 400), one) - 0.5 - 0.5j) for one in people]


def test_a_photo_of_two_people(program, photo):
    model, folder, write, (first, second) = program
    Image.fromarray(photo).save(folder / 'we.png')
    written = write(folder)
    assert sorted(written) == [f'photo_we_{k}_female_{a}.png' for k in (1, 2) for a in (5, 65)]
    far = whole_photo.MASK_EDGE * np.sqrt(2)
    for name, own, other in (('1_female_5', first, second), ('2_female_65', second, first)):
        changed = (written[f'photo_we_{name}.png'] != photo).any(axis=-1)
        assert not changed[own > far].any()  # to the pixel
        assert changed[own < 0.4].mean() > 0.5 and not changed[other < 0.4].any()

    it = whole_photo.open_photo(str(folder / 'we.png'))
    faces, spans = whole_photo.cut_out(it, 32)
    people = likeness.look_at(model, None, faces)
    ages, genders = labels.age_label([65]), labels.one_hot([1], 2)
    change = (likeness.show(model, None, people, ages, genders, 0, 1) - faces)[1] * spans[1] / 2
    expected = photo.copy()
    whole_photo.add_change(expected, it.landmarks[1], change)
    np.testing.assert_allclose(written['photo_we_2_female_65.png'], expected, atol=1)


def test_everyone_at_once(program, photo):
    _, folder, write, people = program
    Image.fromarray(photo).save(folder / 'we.png')
    written = write(folder, everyone=True)
    assert sorted(written) == ['photo_we_female_5.png', 'photo_we_female_65.png']
    changed = (written['photo_we_female_65.png'] != photo).any(axis=-1)
    assert all(changed[one < 0.4].mean() > 0.5 for one in people)


def test_a_photo_is_written_as_it_is_seen_and_in_its_format(program, photo):
    _, folder, write, people = program
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter: seen 300 high, 400 wide
    Image.fromarray(np.rot90(photo)).save(folder / 'turned.JPG', exif=exif, quality=95)
    Image.fromarray(photo).save(folder / 'plain.bmp')
    written = write(folder, everyone=True)
    assert {name.rsplit('_')[1] + name[-4:] for name in written} == {'turned.jpg', 'plain.png'}
    outside = np.min(people, axis=0) > whole_photo.MASK_EDGE * np.sqrt(2)
    seen = np.asarray(ImageOps.exif_transpose(Image.open(folder / 'turned.JPG'))).astype(int)
    turned = written['photo_turned_female_5.jpg']
    assert turned.shape == (300, 400, 3)
    assert np.abs(turned - seen)[outside].mean() < 6  # of noise, another loss of JPEG
    np.testing.assert_array_equal(written['photo_plain_female_5.png'][outside], photo[outside])


def test_photos_without_a_face_are_left_out(program, photo, monkeypatch):
    _, folder, write, _ = program
    Image.fromarray(photo).save(folder / 'nobody.png')
    (folder / 'broken.png').write_bytes(b'no picture')
    monkeypatch.setattr(detector, 'find_faces', lambda pixels: np.empty([0, 5, 2]))
    assert write(folder) == {}
