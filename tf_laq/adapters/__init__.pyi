from .base import Adapter as Adapter
from .carrying import carry as carry, check_float as check_float, plan_of as plan_of
from .dispatch import (
    adapter_of as adapter_of,
    is_keras_model as is_keras_model,
    keras_module as keras_module,
    keras_version as keras_version,
    logits_function as logits_function,
    logits_of_arrays as logits_of_arrays,
)
