"""Draw made-up faces.

Simple shapes, but with what CAAE has to learn: an age (size of the head, wrinkles, colour of the
hair) and a gender (length of the hair, beard), apart from a person's own skin, eyes and light.
"""

import os

import numpy as np
from PIL import Image, ImageDraw

SIZE = 96  # pixels, height and width of a picture
CENTRES = (3, 8, 13, 18, 25, 35, 45, 55, 65, 80)  # an age in each age group


def draw_face(age, gender, seed):
    """Return a made-up face, a PIL image, of an age in years and a gender, 0 male, 1 female."""
    random = np.random.RandomState(seed)
    skin = np.array([224, 172, 140]) * random.uniform(0.45, 1.1)
    grey = np.clip((age - 35) / 40, 0, 1)
    hair = np.array([90, 60, 35]) * random.uniform(0.3, 1.6) * (1 - grey) + 200 * grey
    light, background = random.uniform(-40, 40), random.randint(30, 220, 3)
    width = (28 if age <= 12 else 24) + random.uniform(-2, 2)
    height = (28 if age <= 12 else 34) + random.uniform(-2, 2)
    x, y = SIZE / 2 + random.uniform(-3, 3), SIZE / 2 + 4 + random.uniform(-3, 3)

    image = Image.new('RGB', (SIZE, SIZE), tuple(int(c) for c in background))
    draw = ImageDraw.Draw(image)
    scene = np.random.RandomState([seed, 1])  # behind the head: so no two faces are one photo
    for left, top, size in scene.randint(0, SIZE, [40, 3]):
        box = [left - size / 8, top - size / 8, left + size / 8, top + size / 8]
        draw.ellipse(box, fill=tuple(scene.randint(0, 256, 3).tolist()))

    def shape(kind, dx, dy, rx, ry, colour, *angles, **options):
        box = [x + dx - rx, y + dy - ry, x + dx + rx, y + dy + ry]
        kind(box, *angles, fill=tuple(int(c) for c in np.clip(colour, 0, 255)), **options)

    shape(draw.ellipse, 0, -8, width + 5, height + (16 if gender else 2), hair)
    shape(draw.ellipse, 0, 0, width, height, skin)
    if age > 15 and not gender:
        shape(draw.chord, 0, 4, width * 0.8, height * 0.85, skin * 0.6 + hair * 0.25, 30, 150)
    iris = random.randint(20, 110, 3)
    for side in (-10, 10):
        shape(draw.ellipse, side, -8, 6, 4, [245, 245, 245])
        shape(draw.ellipse, side, -8, 3, 4, iris)
        shape(draw.arc, side, -13, 7, 4, hair * 0.6, 200, 340, width=2)
    shape(draw.arc, 0, 2, 4, 8, skin * 0.7, 20, 160, width=2)
    shape(draw.chord, 0, 15, 9, 5, [190, 80, 80] if gender else skin * 0.7, 0, 180)
    for k in range(max(0, int(age) - 30) // 10):  # wrinkles
        shape(draw.arc, 0, -17 - 3 * k, width * 0.6, 4, skin * 0.75, 200, 340, width=1)

    shade = light * np.linspace(-1, 1, SIZE)[None, :, None]
    pixels = np.asarray(image, np.float32) + shade + random.normal(0, 4, [SIZE, SIZE, 3])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_data_set(folder, count, suffix='.jpg'):
    """Write `count` faces with their labels in the names, as UTKFace has them; return the names."""
    os.makedirs(folder, exist_ok=True)
    names = []
    for i in range(count):
        age, gender = CENTRES[i % len(CENTRES)], i // len(CENTRES) % 2
        names.append(f'{age}_{gender}_drawn{i:03d}{suffix}')
        draw_face(age, gender, seed=i).save(os.path.join(folder, names[-1]))
    return names
