"""The ranking, shown (`X-Pelican-Debug: true`).

Source: Pelican `server_structs/director.go:RedirectInfo`. `breakerWeight` and `latencyWeight` are ours.
"""

from collections.abc import Sequence

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.redirect.adaptive import Weighed
from director_wsgi.redirect.weights import Weights, distance_weights

_NOWHERE = Coordinate(latitude=0, longitude=0, source="")


def debug_body(
    servers: Sequence[ServerAd], weighed: Sequence[Weighed], client: Coordinate, sort_method: str, address: str
) -> dict[str, object]:
    """Client, servers and weights, in Pelican's JSON. `random` weighs nobody and shows no server.

    Args:
        servers: All that are named in the answer.
        weighed: The working set, if the ranking was `adaptive`, which shows nobody else.
        client: The client's place.
        sort_method: The ranking.
        address: The client's.
    """
    return {
        "clientInfo": {"Coordinate": _wire(client), "ipAddr": address},
        "serversInfo": {
            server.data_url: {"Coordinate": _wire(server.coordinate or _NOWHERE), "RedirectWeights": weights}
            for server, weights in _shown(servers, weighed, client, sort_method)
        },
        "directorSortMethod": sort_method,
    }


def _shown(
    servers: Sequence[ServerAd], weighed: Sequence[Weighed], client: Coordinate, sort_method: str
) -> list[tuple[ServerAd, dict[str, float]]]:
    if sort_method == "random":
        return []
    if sort_method == "adaptive":
        return [(one.server, _every_weight(one.weights)) for one in weighed]
    distances = distance_weights([server.coordinate for server in servers], client)
    return [(server, _only_distance(weight)) for server, weight in zip(servers, distances, strict=True)]


def _only_distance(weight: float) -> dict[str, float]:
    return {"distanceWeight": weight, "ioLoadWeight": 0, "statusWeight": 0, "availabilityWeight": 0}


def _every_weight(weights: Weights) -> dict[str, float]:
    return {
        "distanceWeight": weights.distance,
        "ioLoadWeight": weights.io_load,
        "statusWeight": weights.status,
        "availabilityWeight": weights.availability,
        "breakerWeight": weights.breaker,
        "latencyWeight": weights.latency,
    }


def _wire(place: Coordinate) -> dict[str, object]:
    return {
        "Lat": place.latitude,
        "Long": place.longitude,
        "AccuracyRadius": place.accuracy_radius_km,
        "Source": place.source,
        "FromTTLCache": place.remembered,
    }
