from .contents import FileContents as FileContents, StoredTensor as StoredTensor, inspect as inspect
from .encodings import LAYOUTS as LAYOUTS
from .export import export_tflite as export_tflite
from .packing import predicted_bytes as predicted_bytes, with_file_bytes as with_file_bytes
from .report import (
    ExportError as ExportError,
    ExportReport as ExportReport,
    Parity as Parity,
    Performance as Performance,
    TensorExport as TensorExport,
)
from .running import TFLiteModel as TFLiteModel, load as load
