#!/usr/bin/env python3
"""Compares crops of photographs with Pillow's: decoded, converted, cropped, resized with BILINEAR, mirrored.

usage: scripts/pillow_parity.py [--build FOLDER] [--crops N] PHOTOGRAPH...
Needs Pillow (a virtual environment: pip install pillow) and photographs; Debian's python3-sklearn holds two:
  apt-get download python3-sklearn && dpkg -x python3-sklearn_*.deb x && ls x/usr/lib/python3/dist-packages/sklearn/datasets/images

Each photograph is tried as it is and as what Pillow makes of it: JPEG files with 4:2:0, 4:2:2 and 4:4:4, progressive, grey and CMYK; PNG files
of RGB, RGBA, grey, and with a palette. Fails where a pixel of a picture that was decoded in full differs by more than 1 from Pillow's. Where ours
was decoded at a half or a quarter of its size, which Pillow does only on demand (Image.draft), the differences are printed, not judged.
"""
import argparse
import io
import pathlib
import random
import subprocess
import sys
import tempfile

from PIL import Image, ImageChops, ImageStat

ROOT = pathlib.Path(__file__).resolve().parent.parent


def variants(image):
    """name -> bytes of a file"""
    def saved(picture, kind, **options):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        return file.getvalue()

    rgb = image.convert("RGB")
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    return {
        "jpeg-420": saved(rgb, "JPEG", quality=90, subsampling=2),
        "jpeg-422": saved(rgb, "JPEG", quality=90, subsampling=1),
        "jpeg-444": saved(rgb, "JPEG", quality=90, subsampling=0),
        "jpeg-progressive": saved(rgb, "JPEG", quality=90, progressive=True),
        "jpeg-grey": saved(rgb.convert("L"), "JPEG", quality=90),
        "jpeg-cmyk": saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "png-rgb": saved(rgb, "PNG"),
        "png-rgba": saved(alpha, "PNG"),
        "png-grey": saved(rgb.convert("L"), "PNG"),
        "png-palette": saved(rgb.quantize(64), "PNG"),
    }


def random_crop(random_, width, height):
    w, h = random_.randint(1, width), random_.randint(1, height)
    left, top = random_.randint(0, width - w), random_.randint(0, height - h)
    side = random_.choice([32, 97, 224])
    return left, top, w, h, random_.randint(0, 1), side, random_.choice([side, side // 2])


def ours(program, requests):
    """Pixels of each (path, crop, channels)."""
    lines = "".join(f"{' '.join(map(str, crop))} {channels} {path}\n" for path, crop, channels in requests)
    output = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    for _, (*_, width, height), channels in requests:
        size = width * height * channels
        yield Image.frombytes("RGB" if channels == 3 else "L", (width, height), output[:size])
        output = output[size:]


def pillows(path, crop, channels):
    left, top, w, h, flip, width, height = crop
    image = Image.open(path)
    if channels == 1 and image.mode == "RGB" and image.format == "JPEG":
        image.draft("L", None)  # the Y channel, as ours; convert("L") goes through RGB, whose colours are clipped
    image = image.convert("RGB" if channels == 3 else "L").crop((left, top, left + w, top + h))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--crops", default=60, type=int)
    parser.add_argument("photographs", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    subprocess.run(["ninja", "-C", arguments.build, "tests/data/decode_picture"], check=True, stdout=subprocess.DEVNULL)

    random_, requests, names = random.Random(1), [], []
    with tempfile.TemporaryDirectory() as folder:
        for i, photograph in enumerate(arguments.photographs):
            image = Image.open(photograph)
            for name, data in {"as it is": photograph.read_bytes(), **variants(image)}.items():
                path = pathlib.Path(folder) / f"{i}-{name}"
                path.write_bytes(data)
                jpeg = Image.open(path).format == "JPEG"
                for channels in (3, 1):
                    for _ in range(arguments.crops):
                        crop = random_crop(random_, *image.size)
                        reduction = min(crop[2] // crop[5], crop[3] // crop[6]) if jpeg else 1
                        requests.append((path, crop, channels))
                        names.append((4 if reduction >= 4 else 2 if reduction >= 2 else 1, name, "RGB" if channels == 3 else "L"))
        found = {}
        for name, request, picture in zip(names, requests, ours(arguments.build / "tests/data/decode_picture", requests)):
            difference = ImageChops.difference(picture, pillows(*request))
            most = max(high for _, high in ([difference.getextrema()] if difference.mode == "L" else difference.getextrema()))
            largest, mean, count = found.get(name, (0, 0.0, 0))
            found[name] = max(largest, most), mean + sum(ImageStat.Stat(difference).mean) / len(difference.getbands()), count + 1

    print(f"{'decoded at':<12}{'file':<20}{'as':<6}{'crops':>6}{'largest':>9}{'mean':>8}")
    for (reduction, name, mode), (largest, mean, count) in sorted(found.items()):
        print(f"1/{reduction:<10}{name:<20}{mode:<6}{count:>6}{largest:>9}{mean / count:>8.3f}")
    wrong = [key for key, (largest, _, _) in found.items() if key[0] == 1 and largest > 1]
    if wrong:
        sys.exit(f"differs by more than 1: {wrong}")


main()
