"""What two workers hold when a whole federation has advertised, over HTTP, and clients have come from everywhere.

Each advertisement reaches one worker by itself and the other through what they share. What counts is what is resident
of both, summed, pages that they have in common twice; the master is left out.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations
from benchmarks.advertiser import key_set
from benchmarks.federations import MANY_PLACES, Clients, Size
from benchmarks.figures import Figure, figure
from benchmarks.load import Order, generator
from benchmarks.registry import registry
from benchmarks.renewals import renewing
from benchmarks.server import cores, serving

WORKERS = 2
AIMS_MB = {federations.MEDIUM: 150.0, federations.LARGE: 400.0}


def measure(folder: Path, say: Callable[[str], None], *, sizes: tuple[Size, ...] | None = None) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        sizes: Of the federations; all of them if None.

    Raises:
        ServerFailedError, WrongAnswerError: There is nothing to be measured.
    """
    own = folder / "memory"
    own.mkdir()
    made = []
    for size in sizes or tuple(federations.SIZES.values()):
        say(f"memory: the {size.name} federation advertises")
        made.append(_held(own / size.name, size))
    return made


def _held(folder: Path, size: Size) -> Figure:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    with ExitStack() as stack:
        known = stack.enter_context(registry(key_set(key)))
        environment = {"PELICAN_FEDERATION_REGISTRYURL": known.url}
        server = stack.enter_context(serving("director_wsgi.wsgi:application", folder, environment, workers=WORKERS))
        began_mb = server.memory_mb()
        renewals = stack.enter_context(renewing(server, size, key))
        renewals.advertise_all()
        advertised_mb = server.memory_mb()
        load = stack.enter_context(generator(cores()[1]))
        for clients in Clients:
            order = Order(
                port=server.port,
                server_pid=server.pid,
                other_pids=server.others,
                federation=size.name,
                clients=clients,
                connections=48 * WORKERS,
                warm_up_answers=MANY_PLACES,
                seconds=1.0,
            )
            load.run(order)
        return figure(
            f"memory of two workers, {size}",
            "MB",
            [server.memory_mb()],
            at_most=AIMS_MB.get(size),
            details={
                "before any advertisement": began_mb,
                "before any client": advertised_mb,
                "the most that ever was": server.memory_mb("VmHWM"),
            },
        )
