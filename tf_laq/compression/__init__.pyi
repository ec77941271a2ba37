from .candidates import Candidate as Candidate
from .result import (
    CompressedModel as CompressedModel,
    Compression as Compression,
    FileCheck as FileCheck,
    Recommendation as Recommendation,
)
from .rule import Rule as Rule
from .run import compress as compress, write_page as write_page
