from .apgd import APGDCrossEntropy as APGDCrossEntropy, APGDLogitsRatio as APGDLogitsRatio, APGDTargeted as APGDTargeted
from .base import (
    Attack as Attack,
    BallAttack as BallAttack,
    Images as Images,
    Labels as Labels,
    Logits as Logits,
    margins as margins,
)
from .battery import KNOWLEDGE as KNOWLEDGE, Battery as Battery, Column as Column
from .bim import BIM as BIM
from .carlini_wagner import CarliniWagner as CarliniWagner
from .clean import Clean as Clean
from .ddn import DDN as DDN
from .diva import DIVA as DIVA
from .fgsm import FGSM as FGSM
from .half import half_adversarial as half_adversarial
from .mim import MIM as MIM
from .noise import GaussianNoise as GaussianNoise, UniformNoise as UniformNoise
from .pgd import PGD as PGD
from .registry import from_dict as from_dict, get as get, names as names
from .second_search import completed_gradient as completed_gradient
from .square import Square as Square
