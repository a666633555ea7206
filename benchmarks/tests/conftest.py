from trainworks.testing import (  # noqa: F401  pytest finds fixtures and hooks here
    pytest_collection_modifyitems,
    pytest_configure,
    restored_state,
    train,
    train_process,
)
