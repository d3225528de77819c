from promptmill.model.shards import *  # noqa: F403
from promptmill.model.shards import SHARD_ROWS, Listener, fill  # noqa: F401
