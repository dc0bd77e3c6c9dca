"""Tracing: what became of a request, told to an OpenTelemetry collector.

    span        what is recorded, and the object that records nothing; handed from stage to stage
    attributes  the only things a span may say
    context     W3C `traceparent` and `tracestate`
    spec        what makes two tracers different
    variables   OpenTelemetry's variables, as settings of our rows
    kinds       the values of our rows
    extra       are the packages there?
    client      how the collector is reached
    tracer      begins traces: sampled or not
    batch       spans that wait to be sent, and the thread that sends them
    exporter    OTLP over HTTP
    otlp        its bytes
    counts      what became of spans

Everything is explicit: there is no provider for the process, no patching of libraries and no context that travels by
itself. A span is begun by who has its parent in hand. Where nothing is traced that parent is `span.OFF`, whose methods
do nothing.

The SDK of OpenTelemetry is not used. Each of its providers leaves a callback in the interpreter that runs at every
fork and can't be taken back, its batch processor outlives its time limits when the collector hangs, and its spans cost
seven times as much (docs/tracing.md has the figures). What is needed of it fits into these modules; the messages
themselves are OpenTelemetry's (`opentelemetry-proto`).
"""
