import pytest

from tests.data.made import FORMS


@pytest.fixture(params=FORMS)
def form(request, tmp_path):
    """What makes files of members, in each form that `--data` takes."""
    return lambda members: FORMS[request.param](tmp_path, members)
