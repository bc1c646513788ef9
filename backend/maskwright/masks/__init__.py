"""Masks as run lengths: values, algebra, polygons, COCO's format. Nothing here makes pixels that nobody asked for."""

from maskwright.masks.frames import Size
from maskwright.masks.mask import Mask
from maskwright.masks.pairs import pairwise_intersection, pairwise_iou
from maskwright.masks.pixel_set import Box
from maskwright.masks.polygons import Polygon
from maskwright.masks.shapes import rotated_rectangle

__all__ = ["Box", "Mask", "Polygon", "Size", "pairwise_intersection", "pairwise_iou", "rotated_rectangle"]
