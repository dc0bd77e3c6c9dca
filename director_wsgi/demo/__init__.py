"""A small federation on loopback, with real bytes behind it, all of it speaking TLS under a throw-away authority.

`director-wsgi demo` shows the director at work in it; tests build on the same parts. From the ground up:

* `certificates`, `tokens`: the authority, and who signs what.
* `exchange`: one request and one response, as values; `bodies`, `wire`: put a service on an HTTPS port.
* `registry`; `origin` over `storage`, `ranges` and `multistatus`; `cache` over `copies` and `upstream`: the services.
  They know no port.
* `federation_keys`, `reports`, `monitored`: how a server lives with the director's tests.
* `ads`, `advertiser`: tell the director of one server, again and again; `fed_token`: what a cache gets from it.
* `samples`, `running`, `federation`: what is in it, and how it is brought up.
* `director`: the director as a process of its own; `command`: all of it together, until
  Ctrl-C, with `suggestions` of what to try.

`director-wsgi demo saturation` is a play of its own (docs/saturation.md):

* `scene`: who and what is in it; `hanging`: its origins; `openloop`: its load, in a child process.
* `naive`, `prefilled`: the two designs; `contender`: either of them under gunicorn.
* `saturation`: the play, from its command line to its end; `verdict` and `figure`: what is told of it.

`director-wsgi demo reload-leak` is another one (docs/reload-leak.md); it needs the extra `demo`:

* `leaking`, `leased`: the two holders; `reloader`: either of them, in a child process that reloads; `refused`: how
  that fails; `reloaded`: the process seen from outside; `collector`: where its spans go.
* `reload_leak`: the play, from its command line to its end; `leak_report`: what is told of it.

`interruption`: how these commands end; `terminal`: how they talk meanwhile; `plot`: how they draw.

Nothing here is used in production, and nothing but loopback is ever listened at.
"""
