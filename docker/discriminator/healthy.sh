#!/bin/sh
# Sends one text through the model: embedding models serve the first path, reward models the second.
for path in v1/embeddings pooling; do
    curl --fail --silent --max-time 10 --output /dev/null --header 'content-type: application/json' \
        --data '{"input": "hello"}' "http://127.0.0.1:8000/$path" && exit 0
done
exit 1
