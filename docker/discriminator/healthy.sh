#!/bin/sh
# One text through the model: embedding models answer at the first address, reward models at the second.
for path in v1/embeddings pooling; do
    curl --fail --silent --max-time 10 --output /dev/null --header 'content-type: application/json' \
        --data '{"input": "hello"}' "http://127.0.0.1:8000/$path" && exit 0
done
exit 1
