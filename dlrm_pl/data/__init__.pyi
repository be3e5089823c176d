from .formats.dataset_folder import DatasetFolder as DatasetFolder
from .loading.datamodule import DLRMDataModule as DLRMDataModule
from .loading.datamodule import TerabyteDataModule as TerabyteDataModule
from .loading.dataset import ClickDataset as ClickDataset
from .preprocessing.run import preprocess as preprocess
from .synthetic.synthesize import synthesize as synthesize
