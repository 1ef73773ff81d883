#!/usr/bin/env bash
# Saving a picture as AVIF takes the orientation out of the EXIF data it was given, so the next save
# lies sideways.
#
# Packages: pillow 13.0.0, its wheel's AVIF (Python 3.11).
# Expected: save() leaves its arguments alone; one Exif object serves for several formats, in any
#   order.
# Happens: the AVIF plugin writes the orientation into the container's own field and deletes it from
#   the caller's object. What is saved with that object afterwards has none; with
#   exif=picture.getexif() the picture in memory forgets its own, and ImageOps.exif_transpose does
#   nothing more. JPEG, WebP, PNG and TIFF leave the object as it is.
# Seen on 2026-11-29, Orientation 6 in one object, saved in this order:
#   JPEG 6, AVIF 6, WEBP None, PNG None
#   a picture of 60 x 40, saved as AVIF with exif=picture.getexif():
#   turned by exif_transpose: before 40 x 60, after 60 x 40
# Who meets it: whoever makes a thumbnail or a page's picture in AVIF, WebP and JPEG in one loop.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet pillow==13.0.0
"$work/env/bin/python" - "$work" <<'PYTHON'
import sys

from PIL import ExifTags, Image, ImageOps

folder = sys.argv[1]
ORIENTATION = ExifTags.Base.Orientation


def orientation(path):
    with Image.open(path) as picture:
        return picture.getexif().get(ORIENTATION)


exif = Image.Exif()
exif[ORIENTATION] = 6
seen = []
for name in ('jpeg', 'avif', 'webp', 'png'):
    path = f'{folder}/face.{name}'
    Image.new('RGB', (60, 40), 'red').save(path, exif=exif)
    seen.append((name.upper(), orientation(path)))
print(', '.join(f'{name} {number}' for name, number in seen))

with Image.open(f'{folder}/face.jpeg') as picture:
    before = ImageOps.exif_transpose(picture).size
    picture.save(f'{folder}/a.avif', exif=picture.getexif())
    after = ImageOps.exif_transpose(picture).size
print(f'turned by exif_transpose: before {before[0]} x {before[1]}, after {after[0]} x {after[1]}')
if [number for _, number in seen] != [6, 6, None, None] or (before, after) != ((40, 60), (60, 40)):
    sys.exit('Changed.')
PYTHON
