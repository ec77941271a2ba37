from .networks import build as build, input_shape as input_shape, names as names, options_of as options_of
from .pretrained import Card as Card, load as load, trained as trained
