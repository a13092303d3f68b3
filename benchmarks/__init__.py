"""What serving media costs: this package beside its peers, nginx, and the floor under them all.

    uv run --group bench python -m benchmarks              everything, about an hour and a half
    uv run --group bench python -m benchmarks --quick      everything, ten minutes: does it work?
    uv run --group bench python -m benchmarks http --help  one part, and what it can be told

The parts, each a module of that name:

    asgi      in process: microseconds and CPU a request, no server and no socket
    http      real servers, a pinned load generator: throughput, latency, CPU, memory
    growth    cost against the file's size, the files in its folder, and the path's depth
    stalled   memory over time while clients ask for 1 GiB and read nothing
    beside    what one client waits for something small while others download
    crowd     many idle connections, and many slow downloads: CPU, memory and descriptors
    soak      minutes of mixed traffic: memory, descriptors and threads over time
    targets   what this package promises, over five starts, each PASS or FAIL
    compare   this checkout beside another (only if asked for): what does a change cost?

How the figures are made:

- Linux only: processes are pinned and read through /proc. The server has one core, the load
  generator another. wrk comes from the system's packages; nginx is measured if it is there.
- The *floor* is a callable that sends the same bytes from memory in one message, with the five
  headers that any file's answer has: what the server itself costs.
- Before anything is timed, each contender's answer is compared with the file, byte by byte.
- Rounds are interleaved: every contender has its turn in each, in a rotating order, so that
  whatever else the machine does falls on all of them. A ratio is taken within each round, of two
  measurements seconds apart; what is printed is the median of those ratios and, in brackets,
  the lowest and highest. Absolute figures are medians over the rounds.
- CPU is the server's user and system time, all its processes and threads, from the kernel's clock.
- Results go to benchmarks/results/ as Markdown, JSON (every round) and SVG, with the versions and
  the machine; those of --quick to benchmarks/results/quick/: they prove only that it runs.
"""
