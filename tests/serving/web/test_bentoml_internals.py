"""BentoML's private folder has the files of Swagger that the page loads."""

from serving.web.bentoml_internals import SWAGGER
from serving.web.pages import SWAGGER_FILES


def test_bentoml_has_the_files_of_swagger():
    assert all((SWAGGER / name).stat().st_size > 10_000 for name in SWAGGER_FILES)
