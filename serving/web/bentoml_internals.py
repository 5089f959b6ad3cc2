"""The private folder of BentoML with the files of Swagger. BentoML has no public name for it."""

from pathlib import Path

import bentoml

SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
