from promptmill.vary.sketches import *  # noqa: F403
