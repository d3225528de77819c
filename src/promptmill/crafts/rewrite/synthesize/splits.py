from promptmill.vary.splits import *  # noqa: F403
