"""Data sets: folders of pictures, and generated pictures of soccer balls."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastbp.datasets.image_folder import load_image, load_image_folder
    from fastbp.datasets.soccer_balls import make_soccer_balls
else:
    from fastbp._lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        {
            "load_image": "fastbp.datasets.image_folder",
            "load_image_folder": "fastbp.datasets.image_folder",
            "make_soccer_balls": "fastbp.datasets.soccer_balls",
        },
    )

__all__ = ["load_image", "load_image_folder", "make_soccer_balls"]
