"""Day cares: folders of prompts, tasks and LMQL queries to breed with. `folder.read_day_care` reads one."""
