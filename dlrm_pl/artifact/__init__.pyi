from .build import Outcome as Outcome
from .build import build_artifact as build_artifact
from .certificate.certificate import Certificate as Certificate
from .store import Artifact as Artifact
from .store import load_artifact as load_artifact
from .verify import verify_artifact as verify_artifact
