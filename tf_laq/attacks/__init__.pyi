from .apgd import APGDCrossEntropy as APGDCrossEntropy, APGDLogitsRatio as APGDLogitsRatio, APGDTargeted as APGDTargeted
from .base import Attack as Attack
from .battery import Battery as Battery, Column as Column
from .bim import BIM as BIM
from .carlini_wagner import CarliniWagner as CarliniWagner
from .clean import Clean as Clean
from .ddn import DDN as DDN
from .diva import DIVA as DIVA
from .fgsm import FGSM as FGSM
from .mim import MIM as MIM
from .noise import GaussianNoise as GaussianNoise, UniformNoise as UniformNoise
from .pgd import PGD as PGD
from .registry import from_dict as from_dict, get as get, names as names
from .square import Square as Square
