#!/bin/sh
# Beam starts its workers with the addresses of its services; everything else is a command of seqapps.
case " $* " in
    *_endpoint=* | *" --worker_pool"*) exec /opt/apache/beam/boot "$@" ;;
    *) exec seqapps "$@" ;;
esac
