"""Data sets: folders of pictures, and generated pictures of soccer balls."""

from fastbp.datasets.image_folder import load_image, load_image_folder
from fastbp.datasets.soccer_balls import make_soccer_balls

__all__ = ["load_image", "load_image_folder", "make_soccer_balls"]
