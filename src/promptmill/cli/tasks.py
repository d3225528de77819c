"""`promptmill tasks`."""

from __future__ import annotations

from promptmill.cli.screen import out, plain, show_rows, table
from promptmill.tasks.load import builtin_tasks, load_task


def tasks_command(name: str | None) -> None:
    if name is None:
        listed = table()
        listed.add_column("task")
        listed.add_column("what is asked")
        for task_name, description in sorted(builtin_tasks().items()):
            listed.add_row(task_name, plain(description))
        out.print(listed)
        out.print("\nnext: promptmill tasks NAME, or promptmill eval NAME --model embedded")
        return
    task = load_task(name)
    show_rows([
        ("task", task.name),
        ("asks", task.description),
        ("system", task.prompt.system or "-"),
        ("user", task.prompt.user),
        ("scorer", task.scorer.name),
        ("choices", ", ".join(task.choices) if task.choices else "-"),
        ("examples", f"{len(task.train):,} train, {len(task.dev):,} dev, {len(task.test):,} test"),
    ])  # fmt: skip
    out.print()
    shown = table("the first examples")
    fields = list(next(iter(task.split("all"))).fields)
    for field in [*fields, "gold"]:
        shown.add_column(plain(field), overflow="fold")
    for example in task.split("all")[:3]:
        shown.add_row(*(plain(example.fields[field], 200) for field in fields), plain(" | ".join(example.gold), 80))
    out.print(shown)
