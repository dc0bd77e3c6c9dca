"""What surrounds the requests: configuration, the process, what lives long in it, and what it logs.

Configuration:
    config      what an operator has set: `Config`, made of settings and checked
    parameters  the table behind it, one row per parameter
    rows        what a row is made of
    kinds       the kinds of value: how each is read and printed
    durations   Go's notation for lengths of time
    names       which names may be used, and which have no effect
    sources     where the settings come from, at a start and whenever something has changed
    reading     what all sources said at one time
    local_files the main file and those of `ConfigLocations`
    remote      the document at `Director.ConfigUrl`, fetched, polled, and kept
    discovery   what the federation's discovery URL tells
    watch       has a file changed?
    yaml_file   a document, read safely
    files       the files it names: there, and what they should be?
    changes     what a new configuration changes, at once or with the next start
    reference   the table and its values, for people to read

The process:
    process     gunicorn's settings and hooks
    start       what is settled at the first start and outlives workers
    last_good   the last good configuration on disk, for the next master
    private_file  a small file that only the director's user may read
    notify      what systemd is told
    worker      gunicorn's gthread worker, with its errors as JSON
    arrival     has a request arrived?
    slow_clients  until it has, no thread waits for it, nor for a client to go
    at_once     what needs no waiting is answered by the main thread
    response    head and body in one piece
    sockets     the listener: TLS, and a bound on silence
    cores       which core each worker runs on
    processors  what the kernel tells of cores
    balance     as many connections for each worker as for the others
    seating     these three, in gunicorn's hooks
    worker_families  and in metrics
    heaps       how many heaps the C library keeps for many threads
    log         how log lines look
    outlet      where they go, and that nobody waits for their reader
    metrics     what is counted, written for Prometheus

What lives long:
    leases      who owns a thread, a socket or a file, and until when
    generations what was made for one configuration, and how the next takes its place while requests go on
    clients     who waits for a client is told when that client has gone
    tracing/    what becomes of requests, told to an OpenTelemetry collector
    periodic    work that is done again and again on a thread of its own
"""
