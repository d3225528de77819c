"""Ground for prompt searches: a task whose every prompt has a quality that is known exactly, and no model anywhere.

A scripted task model is right or wrong by what the prompt says; a scripted writer changes prompts, mostly to no avail.
So a search of ten thousand calls takes seconds, runs on many seeds, and is judged by the true quality of what it
returns instead of by another sample.

    phrases   the words: types of examples, directives, openings
    world     Landscape: which directive does what; examples, answers, quality
    writer    from any request (ours or a peer's) to a new instruction
    record    what a search believed to be best, by task calls
    baseline  random search
    backends  task model and writer as backends of promptmill, and the task
    serve     the same over HTTP, for searches of others
    peers     those searches, from an environment that has them
    run       one search on some seeds, as a table

phrases, world, writer, record, baseline and peers need the standard library only (and the peers themselves).
"""
