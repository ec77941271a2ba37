from .networks import build as build, input_shape as input_shape, names as names, options_of as options_of
from .pretrained import (
    CARD as CARD,
    WEIGHTS as WEIGHTS,
    Card as Card,
    load as load,
    trained as trained,
    weights_sha256 as weights_sha256,
)
