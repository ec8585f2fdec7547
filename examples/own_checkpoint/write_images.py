"""Write the packaged digits as PNG files: FOLDER/train/0/0001.png and so on. They play the part of your own photos.

python write_images.py images
"""

import sys
from pathlib import Path

from PIL import Image

import germline as gl


def main(folder: Path) -> None:
    """Write the training and validation images, one folder per class."""
    data = gl.load_data("digits@32")
    for split in ("train", "val"):
        part = data.split(split)
        for index, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            path = folder / split / part.classes[label] / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).convert("RGB").save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
