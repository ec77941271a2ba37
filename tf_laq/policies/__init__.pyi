from .algorithm1 import Algorithm1 as Algorithm1, Thresholds as Thresholds
from .base import (
    DataDrivenPolicy as DataDrivenPolicy,
    Policy as Policy,
    TensorPolicy as TensorPolicy,
    UnsatisfiedWarning as UnsatisfiedWarning,
    make_plan as make_plan,
    measured_entry as measured_entry,
)
from .budget import COSTS as COSTS, Budget as Budget, Cost as Cost, Limit as Limit
from .data_driven.calibrated import Calibrated as Calibrated
from .data_driven.hawq import Hawq as Hawq, hessian_traces as hessian_traces
from .data_driven.noise_sensitivity import (
    BitsBySensitivity as BitsBySensitivity,
    NoiseSensitivity as NoiseSensitivity,
    relative_changes as relative_changes,
)
from .guarded import Guarded as Guarded
from .random_bits import RandomBits as RandomBits
from .registry import DEFAULT as DEFAULT, NAMES as NAMES, get as get, settings_of as settings_of
from .uniform import Uniform as Uniform
