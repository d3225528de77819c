from promptmill.vary.dedup import *  # noqa: F403
