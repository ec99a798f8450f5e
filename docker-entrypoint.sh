#!/bin/sh
# Beam starts its workers with the addresses of its services; everything else is a command of seqapps. The boot program
# starts `python -m`, which without PYTHONSAFEPATH takes a folder `pipelines` in the working folder for ours.
export PYTHONSAFEPATH=1
case " $* " in
    *_endpoint=* | *" --worker_pool"*) exec /opt/apache/beam/boot "$@" ;;
    *) exec seqapps "$@" ;;
esac
