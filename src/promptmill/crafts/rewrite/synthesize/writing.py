from promptmill.vary.writing import *  # noqa: F403
