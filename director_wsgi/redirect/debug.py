"""The ranking, shown (`X-Pelican-Debug: true`).

Source: Pelican `server_structs/director.go:RedirectInfo`.
"""

from collections.abc import Sequence

from director_wsgi.federation.models import Coordinate, ServerAd
from director_wsgi.redirect.ranking import distance_weights

_NOWHERE = Coordinate(latitude=0, longitude=0, source="")


def debug_body(servers: Sequence[ServerAd], client: Coordinate, sort_method: str, address: str) -> dict[str, object]:
    """Client, servers and weights, in Pelican's JSON. `random` weighs nobody and shows no server."""
    shown: Sequence[ServerAd] = () if sort_method == "random" else servers
    weights = distance_weights([server.coordinate for server in shown], client)
    return {
        "clientInfo": {"Coordinate": _wire(client), "ipAddr": address},
        "serversInfo": {
            server.data_url: {
                "Coordinate": _wire(server.coordinate or _NOWHERE),
                "RedirectWeights": {
                    "distanceWeight": weight,
                    "ioLoadWeight": 0,
                    "statusWeight": 0,
                    "availabilityWeight": 0,
                },
            }
            for server, weight in zip(shown, weights, strict=True)
        },
        "directorSortMethod": sort_method,
    }


def _wire(place: Coordinate) -> dict[str, object]:
    return {
        "Lat": place.latitude,
        "Long": place.longitude,
        "AccuracyRadius": place.accuracy_radius_km,
        "Source": place.source,
        "FromTTLCache": False,
    }
