from .assembling import Size as Size, from_arrays as from_arrays
from .loading import check_source as check_source, load as load, names as names
from .parts import Dataset as Dataset, ScaledImages as ScaledImages, Split as Split
from .pixels import DarkImagesWarning as DarkImagesWarning
